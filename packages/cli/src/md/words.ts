/**
 * The words of `tidemark md`: an array is `md:DEVICE,DEVICE…`, or its devices one by one.
 */
import fs from 'node:fs';
import path from 'node:path';
import { KernelError } from '@tidemark/core';
import { UsageError } from '../outcome.js';

const MD = /^md:/i;
const SCHEME = /^[a-z][a-z0-9+.-]*:/i;

/** Devices of an array that is given whole. @throws UsageError for `md:` without a device, and two arrays. */
export function devicesOf(words: readonly string[]): string[] {
  const [first, ...more] = words;
  if (!MD.test(first)) {
    const array = more.find((word) => MD.test(word));
    if (array !== undefined) throw new UsageError(`${array} comes first, or not at all`);
    return [...words];
  }
  const devices = first.slice('md:'.length).split(',');
  if (devices.includes('')) throw new UsageError(`${JSON.stringify(first)}: want md:DEVICE,DEVICE…`);
  if (more.length > 0) throw new UsageError(`${first} is an array already; what is ${more[0]}?`);
  return devices;
}

/** An array and members that something is to be done with: `md:a.img,b.img b.img`. */
export interface ArrayAndMembers {
  /** null: none was given. */
  readonly array: string | null;
  readonly members: readonly string[];
}

/** Splits them. @throws UsageError if no member is given. */
export function arrayAndMembers(verb: string, words: readonly string[]): ArrayAndMembers {
  const array = MD.test(words[0]) ? words[0] : null;
  const members = array === null ? words : words.slice(1);
  if (members.length === 0) throw new UsageError(`md ${verb}: which member of ${array}?`);
  return { array, members };
}

/** A device's word as another process understands it: paths from the root. */
export function absolute(word: string): string {
  const { scheme, rest } = split(word);
  if (scheme === '') return path.resolve(word);
  if (scheme === 'file') return `file:${path.resolve(rest.replace(/^\/\/(?=\/)/, ''))}`;
  if (scheme === 'md') return `md:${rest.split(',').map(absolute).join(',')}`;
  return word;
}

/** Path of `unix:PATH`. @throws KernelError EINVAL. */
export function controlPath(word: string): string {
  const socket = /^unix:(.+)$/s.exec(word)?.[1];
  if (socket === undefined) throw new KernelError('EINVAL', `--control ${JSON.stringify(word)}: want unix:PATH`);
  return socket;
}

function split(word: string): { scheme: string; rest: string } {
  const scheme = SCHEME.exec(word)?.[0] ?? '';
  return { scheme: scheme.slice(0, -1).toLowerCase(), rest: word.slice(scheme.length) };
}

/** The file of the host that a word is, or null. */
export function pathOf(word: string): string | null {
  const { scheme, rest } = split(word);
  if (scheme === '') return word;
  return scheme === 'file' ? rest.replace(/^\/\/(?=\/)/, '').replace(/\?.*$/s, '') : null;
}

/** The one among `named` that a word means: by its name, or as the same file of the host. */
export function memberNamed<T extends { readonly name: string }>(word: string, named: readonly T[]): T | null {
  const same = named.find(({ name }) => name === word);
  if (same !== undefined) return same;
  const file = identity(word);
  return (file === null ? undefined : named.find(({ name }) => identity(name) === file)) ?? null;
}

function identity(word: string): string | null {
  const file = pathOf(word);
  const stat = file === null ? undefined : fs.statSync(file, { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? null : `${stat.dev}:${stat.ino}`;
}
