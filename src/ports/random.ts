/** Where randomness comes from. The host seeds it from the system; the simulator from its seed. `Prng` fits. */
export interface Random {
  /** A whole number in [0, 2^32). */
  uint32(): number;
  /** A number in [0, 1). */
  float(): number;
  /** A whole number in [0, bound). */
  below(bound: number): number;
}
