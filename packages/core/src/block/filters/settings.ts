/**
 * How a filter is named: `SCHEME:LOWER`, or `SCHEME:SETTING=VALUE,SETTING=VALUE:LOWER`, where LOWER is how the device below is named; that may
 * be a filter again.
 *
 *     stats:delay:latencyMs=5,bytesPerSecond=10MiB:file:disk.img
 *
 * The settings are the text up to the next colon, if there is a `=` in it. Values are numbers, sizes or words, as the filter says.
 */
import { KernelError } from '../../base/errno.js';

/** Longest name that is looked at. */
const NAME_MAX = 4096;

/** Settings of one filter, as text. */
export class Settings {
  constructor(
    private readonly name: string,
    private readonly values: ReadonlyMap<string, string>,
  ) {}

  text(key: string): string | undefined {
    return this.values.get(key);
  }

  /** @throws KernelError EINVAL for what is no number. */
  number(key: string): number | undefined {
    const text = this.values.get(key);
    if (text === undefined) return undefined;
    if (!/^\d+(?:\.\d+)?$/.test(text)) throw new KernelError('EINVAL', `${this.name}: ${key}=${text} is no number`);
    return Number(text);
  }

  /** `0` or `1`. @throws KernelError EINVAL for anything else. */
  flag(key: string): boolean | undefined {
    const text = this.values.get(key);
    if (text !== undefined && text !== '0' && text !== '1')
      throw new KernelError('EINVAL', `${this.name}: ${key}=${text} is neither 0 nor 1`);
    return text === undefined ? undefined : text === '1';
  }
}

/** What a filter's name says. */
export interface FilterName {
  readonly settings: Settings;
  /** How the device below is named. */
  readonly lower: string;
}

/**
 * Reads a filter's name.
 * @param known the settings it has.
 * @throws KernelError EINVAL for settings it does not have or has twice, and if nothing is below.
 */
export function parseFilterName(name: string, known: readonly string[]): FilterName {
  const shown = JSON.stringify(name.slice(0, 200));
  if (name.length > NAME_MAX) throw new KernelError('EINVAL', `${shown}… is longer than ${NAME_MAX} characters`);
  const rest = name.slice(name.indexOf(':') + 1);
  const colon = rest.indexOf(':');
  const first = colon < 0 ? '' : rest.slice(0, colon);
  const hasSettings = first.includes('=');
  const lower = hasSettings ? rest.slice(colon + 1) : rest;
  if (lower === '') throw new KernelError('EINVAL', `${shown} names no device below`);
  const values = new Map<string, string>();
  for (const setting of hasSettings ? first.split(',') : []) {
    const equals = setting.indexOf('=');
    const key = setting.slice(0, Math.max(equals, 0));
    if (!known.includes(key) || values.has(key))
      throw new KernelError('EINVAL', `${shown}: ${JSON.stringify(setting)} is none of its settings, or there twice: ${known.join(', ')}`);
    values.set(key, setting.slice(equals + 1));
  }
  return { settings: new Settings(shown, values), lower };
}

/** A setting that is a number. @throws KernelError EINVAL naming it. */
export function settingNumber(name: string, key: string, value: number, least: number, most: number): number {
  if (typeof value !== 'number' || !(value >= least && value <= most))
    throw new KernelError('EINVAL', `${name}: ${key} of ${String(value)} is none; want ${least} to ${most}`);
  return value;
}

/** As `settingNumber`, for one without a fraction. */
export function settingCount(name: string, key: string, value: number, least: number, most: number): number {
  if (!Number.isSafeInteger(settingNumber(name, key, value, least, most)))
    throw new KernelError('EINVAL', `${name}: ${key} of ${value} is no whole number`);
  return value;
}
