/**
 * The words every verb shares: SIZE, counts, and `[NAME=]DEVICE`. A word that is none throws, naming the option and the word.
 */
import { formatSize, KernelError, parseSize } from '@tidemark/core';
import { Option } from 'commander';
import { UsageError } from './outcome.js';

/** The option `NAME <size>`, as in `--memory 8MiB`. A word that is no SIZE throws KernelError EINVAL. */
export function sizeOption(name: string, description: string, defaultBytes?: number): Option {
  const option = new Option(`${name} <size>`, description).argParser((word) => parseSize(word, name));
  return defaultBytes === undefined ? option : option.default(defaultBytes, formatSize(defaultBytes));
}

/** Takes text that can be printed. @throws KernelError EINVAL for control characters. */
export function textOption(option: string): (word: string) => string {
  return (word) => {
    if (/\p{Cc}/u.test(word)) throw new KernelError('EINVAL', `${option} ${JSON.stringify(word)} has control characters`);
    return word;
  };
}

/** Takes a path. */
export function pathOption(option: string): (word: string) => string {
  return (word) => {
    if (word === '') throw new UsageError(`${option} is empty; want a path`);
    return word;
  };
}

/** Parses a whole number from 0 to `max`. */
export function countOption(option: string, max: number): (word: string) => number {
  return (word) => {
    const count = /^\d{1,16}$/.test(word) ? Number(word) : Number.NaN;
    if (!(count <= max)) throw new UsageError(`${option} ${JSON.stringify(word)} is not a whole number from 0 to ${max}`);
    return count;
  };
}

/** Takes one of `choices`. */
export function choiceOption<T extends string>(option: string, choices: readonly T[]): (word: string) => T {
  return (word) => {
    const choice = choices.find((candidate) => candidate === word);
    if (choice === undefined) throw new UsageError(`${option} ${JSON.stringify(word)} does not exist; there is ${choices.join(', ')}`);
    return choice;
  };
}

/** A device and the name it is exported under. */
export interface NamedDevice {
  readonly name: string;
  readonly device: string;
}

/**
 * Parses `[NAME=]DEVICE …`. A NAME holds no `:`, `/` or `=`; so `nbd+unix:///x?socket=/y` and `./a=b` are devices. Without NAME a device
 * gets `defaultName`.
 * @throws UsageError for an empty device and for two of one name.
 */
export function namedDevices(words: readonly string[], defaultName: string): NamedDevice[] {
  const devices = words.map((word): NamedDevice => {
    const match = /^([^:/=]+)=(.*)$/s.exec(word);
    const named = match === null ? { name: defaultName, device: word } : { name: match[1], device: match[2] };
    if (named.device === '') throw new UsageError(`${JSON.stringify(word)} names no device; want [NAME=]DEVICE`);
    return named;
  });
  for (const [index, { name }] of devices.entries()) {
    if (devices.findIndex((other) => other.name === name) === index) continue;
    throw new UsageError(`two devices would be exported as ${JSON.stringify(name)}; name them: NAME=DEVICE`);
  }
  return devices;
}
