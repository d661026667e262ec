import type { LogLevel, LogLine } from '../../ports/log.ts';

/** Serf's names of the levels, from least to most important. */
export const rpcLogLevels: readonly string[] = ['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERR'];

const nameOf: Readonly<Record<LogLevel, string>> = { trace: 'TRACE', debug: 'DEBUG', info: 'INFO', warn: 'WARN', error: 'ERR' };

export function rankOf(level: LogLevel): number {
  return rpcLogLevels.indexOf(nameOf[level]);
}

/** A line in the form of Serf's log: `2026/02/01 10:00:00 [INFO] message key=value`. The time is UTC. */
export function logText({ time, level, message, fields }: LogLine): string {
  const facts = Object.entries(fields).map(([key, value]) => ` ${key}=${valueText(value)}`).join('');
  return `${timeText(time)} [${nameOf[level]}] ${message}${facts}`;
}

function valueText(value: unknown): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value));
  return typeof value === 'string' && /[\s"=]/.test(text) ? JSON.stringify(text) : text;
}

/** Days since 1970 as a date of the Gregorian calendar, after Howard Hinnant's `civil_from_days`. */
function timeText(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  const days = Math.floor(seconds / 86_400);
  const ofDay = seconds - days * 86_400;
  const shifted = days + 719_468;
  const era = Math.floor(shifted / 146_097);
  const dayOfEra = shifted - era * 146_097;
  const yearOfEra = Math.floor((dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365);
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const monthFromMarch = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * monthFromMarch + 2) / 5) + 1;
  const month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9;
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0);
  const two = (value: number): string => String(value).padStart(2, '0');
  return `${year}/${two(month)}/${two(day)} ${two(Math.floor(ofDay / 3600))}:${two(Math.floor(ofDay / 60) % 60)}:${two(ofDay % 60)}`;
}
