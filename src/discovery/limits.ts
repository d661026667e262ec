/** More hosts than this in one answer are a mistake of the source: the answer is refused. */
export const hostsMax: number = 1024;
/** Longest answer of a source that lists hosts (bytes). */
export const answerBytesMax: number = 1024 * 1024;
/** Kubernetes lists pods with all that is known about them. */
export const kubernetesBytesMax: number = 16 * 1024 * 1024;
/** Nodes that `gossip` and `mdns` remember, each. */
export const sendersMax: number = 1024;
/** Attempts to connect that one topology has under way. */
export const attemptsMax: number = 16;
/** Where an answer names no port. */
export const defaultGossipPort: number = 7946;
