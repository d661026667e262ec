import { strategies } from '../../src/discovery/strategies.ts';
import type { OptionRule } from '../../src/discovery/options.ts';

/** The tables of docs/discovery.md, as the strategies' own tables say. */
export function optionTables(): Map<string, string> {
  return new Map([...strategies.values()].map((strategy) => {
    const rows = Object.entries(strategy.options).map(([name, rule]) => `| \`${name}\` | ${written(rule)} | ${sentence(rule)} |`);
    return [strategy.name, ['| option | default | meaning |', '| --- | --- | --- |', ...rows].join('\n')] as const;
  }));
}

function written({ required, fallback, fallbackText }: OptionRule): string {
  if (required) return '';
  if (fallbackText !== undefined) return fallbackText;
  return fallback === '' ? 'none' : String(fallback);
}

function sentence({ kind, help }: OptionRule): string {
  const values = kind.type === 'choice' ? `${kind.values.map((value) => `\`${value}\``).join(', ')}: ` : '';
  const unit = kind.type === 'milliseconds' ? ' (ms)' : '';
  return `${values}${help}${unit}`.replaceAll('|', '\\|');
}
