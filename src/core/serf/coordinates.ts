import type { SerfCoordinate } from '../wire/serf-messages.ts';
import type { RandomSource } from '../swim/types.ts';

/** Where a node lies in the space of round-trip times; all in seconds. */
export type Coordinate = SerfCoordinate;

const dimensions = 8;
const errorMax = 1.5;
const errorShare = 0.25; // Vivaldi's ce
const moveShare = 0.25; // Vivaldi's cc
const adjustmentWindow = 20;
const heightMin = 1e-5;
const latencySamples = 3;
const gravityRho = 150;
const tiny = 1e-6;
const roundTripMaxSeconds = 10;

const origin: Coordinate = { Vec: Array.from({ length: dimensions }, () => 0), Error: errorMax, Adjustment: 0, Height: heightMin };

/**
 * Vivaldi network coordinates as Serf computes them: each answered ping pulls our place towards or away from the other's,
 * so that the distance of any two nodes estimates their round-trip time without a measurement.
 */
export class Coordinates {
  readonly #random: RandomSource;
  #own = origin;
  readonly #known = new Map<string, Coordinate>();
  readonly #latencies = new Map<string, number[]>();
  readonly #adjustments: number[] = Array.from({ length: adjustmentWindow }, () => 0);
  #adjustmentIndex = 0;
  #resets = 0;

  constructor(random: RandomSource) {
    this.#random = random;
  }

  get own(): Coordinate {
    return this.#own;
  }

  /** How often our own place made no sense any more and was begun anew. */
  get resets(): number {
    return this.#resets;
  }

  get(name: string): Coordinate | undefined {
    return this.#known.get(name);
  }

  forget(name: string): void {
    this.#known.delete(name);
    this.#latencies.delete(name);
  }

  /** A ping to the node took so long, and it said where it lies. What makes no sense is ignored. */
  observe(name: string, other: Coordinate, roundTripSeconds: number): void {
    if (!isValid(other) || !(roundTripSeconds >= 0 && roundTripSeconds <= roundTripMaxSeconds)) return;
    this.#known.set(name, other);
    const seconds = this.#median(name, roundTripSeconds);
    this.#pull(other, Math.max(tiny, seconds));
    this.#adjust(other, seconds);
    this.#own = this.#pushed(this.#own, -((distanceSeconds(origin, this.#own) / gravityRho) ** 2), origin);
    if (isValid(this.#own)) return;
    this.#own = origin;
    this.#resets++;
  }

  #median(name: string, seconds: number): number {
    const samples = [...(this.#latencies.get(name) ?? []), seconds].slice(-latencySamples);
    this.#latencies.set(name, samples);
    return samples.toSorted((a, b) => a - b)[samples.length >> 1] as number;
  }

  #pull(other: Coordinate, seconds: number): void {
    const distance = distanceSeconds(this.#own, other);
    const wrongness = Math.abs(distance - seconds) / seconds;
    const weight = this.#own.Error / Math.max(tiny, this.#own.Error + other.Error);
    const error = Math.min(errorMax, errorShare * weight * wrongness + this.#own.Error * (1 - errorShare * weight));
    this.#own = this.#pushed({ ...this.#own, Error: error }, moveShare * weight * (seconds - distance), other);
  }

  #adjust(other: Coordinate, seconds: number): void {
    this.#adjustments[this.#adjustmentIndex] = seconds - rawDistance(this.#own, other);
    this.#adjustmentIndex = (this.#adjustmentIndex + 1) % adjustmentWindow;
    const sum = this.#adjustments.reduce((total, sample) => total + sample, 0);
    this.#own = { ...this.#own, Adjustment: sum / (2 * adjustmentWindow) };
  }

  /** Moved away from the other by the force; towards it when negative. */
  #pushed(from: Coordinate, force: number, other: Coordinate): Coordinate {
    let direction = from.Vec.map((value, i) => value - (other.Vec[i] as number));
    const distance = magnitude(direction);
    if (distance <= tiny) direction = from.Vec.map(() => this.#random.float() - 0.5); // on one spot: any direction will do
    const scale = magnitude(direction) || 1;
    return {
      ...from,
      Vec: from.Vec.map((value, i) => value + ((direction[i] as number) / scale) * force),
      Height: distance > tiny ? Math.max(heightMin, ((from.Height + other.Height) * force) / distance + from.Height) : from.Height,
    };
  }
}

/** The round-trip time that two coordinates let expect (s). */
export function distanceSeconds(a: Coordinate, b: Coordinate): number {
  const raw = rawDistance(a, b);
  const adjusted = raw + a.Adjustment + b.Adjustment;
  return adjusted > 0 ? adjusted : raw;
}

function rawDistance(a: Coordinate, b: Coordinate): number {
  return magnitude(a.Vec.map((value, i) => value - (b.Vec[i] as number))) + a.Height + b.Height;
}

function magnitude(vector: readonly number[]): number {
  return Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
}

function isValid({ Vec, Error: error, Adjustment, Height }: Coordinate): boolean {
  return Vec.length === dimensions && Vec.every(Number.isFinite) && [error, Adjustment, Height].every(Number.isFinite);
}
