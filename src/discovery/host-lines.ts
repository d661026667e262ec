import { messageOf, TroupeError } from '../base/errors.ts';
import type { Address } from '../ports/address.ts';
import { parseAddress } from '../ports/address.ts';
import { hostsMax } from './limits.ts';

/** DNS names and IP addresses; nothing that could do harm in a log line. */
const hostPattern = /^[A-Za-z0-9._:%-]{1,255}$/;

/**
 * One address per line, or Erlang's hosts file (`'host.example'.`). Blank lines and what follows `#` or `%` do not count.
 * @throws TroupeError DISCOVERY_ANSWER that names the line: half an answer is not taken for a whole one
 */
export function parseHostLines(text: string, defaultPort: number): Address[] {
  const hosts: Address[] = [];
  let number = 0;
  for (const line of text.split('\n')) {
    number++;
    const content = line.replace(/[#%][^]*$/, '').trim();
    if (content === '') continue;
    const erlang = /^'([^']*)'\.$/.exec(content);
    hosts.push(parseHost(erlang?.[1] ?? content, defaultPort, `line ${number}`));
    if (hosts.length > hostsMax) throw new TroupeError('DISCOVERY_TOO_LARGE', `more than ${hostsMax} hosts are named`, { hostsMax });
  }
  return hosts;
}

/** @throws TroupeError DISCOVERY_ANSWER */
export function parseHost(text: string, defaultPort: number, place: string): Address {
  const shown = text.length > 80 ? `${text.slice(0, 80)}…` : text;
  try {
    const address = parseAddress(text, defaultPort);
    if (hostPattern.test(address.host) && address.port > 0) return address;
  } catch (error) {
    throw new TroupeError('DISCOVERY_ANSWER', `${place}: ${messageOf(error).replace(text, shown)}`, { place }, error);
  }
  throw new TroupeError('DISCOVERY_ANSWER', `${place}: '${shown}' is no host: write HOST or HOST:PORT`, { place });
}
