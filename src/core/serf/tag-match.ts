const expressionCharactersMax = 256;

/**
 * A tag filter's regular expression, written for Go's engine. Undefined when it is invalid, or of a kind that could
 * keep this process busy for long: Go's engine takes linear time, this one may not.
 */
export function compileTagExpression(expression: string): RegExp | undefined {
  if (expression.length > expressionCharactersMax) return undefined;
  // Not in Go's language: look-around and back references.
  if (/\(\?[=!<]|\\[1-9]/.test(expression.replace(/\(\?P?</g, '(?:'))) return undefined;
  // A repeated group that repeats or branches inside is what backtracks without end.
  if (/\([^()]*[+*{|][^()]*\)[+*{]/.test(expression) || /\)[^()]*\)[+*{]/.test(expression)) return undefined;
  const flagged = /^\(\?i\)/.exec(expression);
  try {
    return new RegExp(flagged ? expression.slice(flagged[0].length) : expression, flagged ? 'iu' : 'u');
  } catch {
    return undefined;
  }
}
