/** Amounts with the digits they were written with: no binary float touches money [ARCP 5-10]. */

export interface Amount {
  readonly units: bigint;
  /** Digits behind the point. */
  readonly scale: number;
}

export const ZERO: Amount = { units: 0n, scale: 0 };

/** Reads `0.40`, `-1`, `1e-3`; `undefined` for anything else. */
export function amount(text: string): Amount | undefined {
  const parts = /^(-?)([0-9]{1,40})(?:\.([0-9]{1,40}))?(?:[eE]([+-]?[0-9]{1,2}))?$/.exec(text);
  if (!parts) return undefined;
  const [, sign, whole = '', fraction = '', exponent = '0'] = parts;
  const digits = BigInt(`${sign}${whole}${fraction}`);
  const scale = fraction.length - Number(exponent);
  return scale >= 0 ? { units: digits, scale } : { units: digits * 10n ** BigInt(-scale), scale: 0 };
}

function aligned(a: Amount, b: Amount): [bigint, bigint, number] {
  const scale = Math.max(a.scale, b.scale);
  const lift = (x: Amount) => x.units * 10n ** BigInt(scale - x.scale);
  return [lift(a), lift(b), scale];
}

export function plus(a: Amount, b: Amount): Amount {
  const [x, y, scale] = aligned(a, b);
  return { units: x + y, scale };
}

export function minus(a: Amount, b: Amount): Amount {
  const [x, y, scale] = aligned(a, b);
  return { units: x - y, scale };
}

/** With at least two digits behind the point and no idle zeros beyond them. */
export function written(value: Amount): string {
  const scale = Math.max(value.scale, 2);
  const units = value.units * 10n ** BigInt(scale - value.scale);
  const digits = (units < 0n ? -units : units).toString().padStart(scale + 1, '0');
  const fraction = digits.slice(-scale).replace(/0+$/, '').padEnd(2, '0');
  return `${units < 0n ? '-' : ''}${digits.slice(0, -scale)}.${fraction}`;
}

/** For a bar's length or a plot's height, where a float is close enough. */
export const roughly = (value: Amount) => Number(value.units) / 10 ** value.scale;

/** The amounts of a lease's `cost.budget`, added up by currency [ARCP 9.6-1]. */
export function caps(patterns: readonly string[] = []): Map<string, Amount> {
  const found = new Map<string, Amount>();
  for (const pattern of patterns) {
    const [currency = '', text = ''] = pattern.split(':');
    const value = amount(text);
    if (value) found.set(currency, plus(found.get(currency) ?? ZERO, value));
  }
  return found;
}
