import { TroupeError } from '../../base/errors.ts';

/** What an error of the node means in HTTP. What is not listed is a refusal by the cluster: 409. */
const statusOf: Readonly<Record<string, number>> = {
  BAD_REQUEST: 400,
  BAD_ADDRESS: 400,
  BAD_KEY: 400,
  BAD_NAME: 400,
  NOT_A_NUMBER: 409,
  NOT_FOUND: 404,
  NO_SUCH_APP: 404,
  NO_SUCH_KEYSPACE: 404,
  NO_SUCH_NODE: 404,
  NO_SUCH_PARTITION: 404,
  NO_SUCH_MEMBER: 404,
  TOO_LARGE: 413,
  BUSY: 503,
  UNAVAILABLE: 503,
  NO_LEADER: 503,
  NO_SESSION: 503,
  TIMEOUT: 504,
  UNKNOWN_OUTCOME: 504,
  CALL_TIMEOUT: 504,
  OUT_OF_MEMORY: 507,
};

export function httpStatusOf(code: string): number {
  return Object.hasOwn(statusOf, code) ? (statusOf[code] as number) : 409;
}

/** Errors have one form everywhere: `{ "error": { "code", "message" } }`. */
export function errorResponse(code: string, message: string, status: number = httpStatusOf(code), headers: Record<string, string> = {}): Response {
  return Response.json({ error: { code, message } }, { status, headers });
}

/** A coded error as its answer; anything else is a fault of ours, which the server logs and answers with 500. */
export function answerError(error: unknown): Response {
  if (error instanceof TroupeError) return errorResponse(error.code, error.message);
  throw error;
}
