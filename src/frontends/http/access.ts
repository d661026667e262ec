import type { MiddlewareHandler } from 'hono';
import { errorResponse } from './errors.ts';

const encoder = new TextEncoder();

/** Equal or not, in a time that depends on the length of `given` only: the token cannot be felt out byte by byte. */
export function sameSecret(given: string, expected: string): boolean {
  const a = encoder.encode(given);
  const b = encoder.encode(expected);
  let difference = a.length ^ b.length;
  for (let i = 0; i < a.length; i++) difference |= (a[i] as number) ^ (b[i % Math.max(1, b.length)] as number);
  return difference === 0;
}

/** Every request must bring the token as `Authorization: Bearer TOKEN`. */
export function requireToken(token: string): MiddlewareHandler {
  return async (context, next) => {
    const given = /^Bearer +(.*)$/i.exec(context.req.header('authorization') ?? '')?.[1] ?? '';
    if (sameSecret(given, token)) return next();
    return errorResponse('UNAUTHORIZED', given === '' ? 'this API asks for a token: send it as Authorization: Bearer TOKEN (--token)' : 'the token is not the one this node was given', 401, { 'www-authenticate': 'Bearer' });
  };
}

/**
 * Keeps web pages out of an API without a token. A page that the user visits may send requests to 127.0.0.1: then the
 * browser names the page as Origin. Or its own name may resolve to 127.0.0.1 (DNS rebinding): then Host is that name.
 * Programs send no Origin, and address a loopback port by IP or as localhost.
 */
export function refuseWebPages(loopback: boolean): MiddlewareHandler {
  return async (context, next) => {
    const host = context.req.header('host') ?? '';
    const origin = context.req.header('origin');
    if (origin !== undefined && origin !== `http://${host}`) return errorResponse('FOREIGN_ORIGIN', `requests from the web page ${origin} are not served; set http.token and send it to use this API from elsewhere`, 403);
    const name = host.replace(/:\d+$/, '');
    if (loopback && !/^(localhost|\d+\.\d+\.\d+\.\d+|\[[0-9a-f:.]+\])?$/i.test(name)) return errorResponse('FOREIGN_ORIGIN', `requests for the host '${name}' are not served here: address this port as 127.0.0.1 or localhost`, 403);
    return next();
  };
}
