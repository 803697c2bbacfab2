/**
 * The tidy rules: what the house plan says about source text, each as a function from files to complaints. A complaint is a line
 * `path: what is wrong`. `tidy.test.ts` runs them on the repository, and each of them on text that breaks it.
 */
import path from 'node:path';
import type { SourceFile } from './source-file.js';

/** Floors of core, lowest first: each may import only from lower ones. */
export const FLOORS = ['base', 'task', 'mm', 'cache', 'reclaim', 'block', 'vfs', 'kernel'];

/** What each package may import from the others; `/host` entries only from its own `host/`. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  core: [],
  swap: ['@tidemark/core'],
  'fs-ext3': ['@tidemark/core'],
  'fs-nfs': ['@tidemark/core', '@tidemark/core/host', '@tidemark/net', '@tidemark/net/host'],
  md: ['@tidemark/core'],
  fuse: ['@tidemark/core', '@tidemark/core/host'],
  net: ['@tidemark/core', '@tidemark/core/host'],
  nbd: ['@tidemark/core', '@tidemark/core/host', '@tidemark/net', '@tidemark/net/host'],
  testkit: ['@tidemark/core', '@tidemark/net'],
  lab: [
    '@tidemark/core',
    '@tidemark/swap',
    '@tidemark/net',
    '@tidemark/nbd',
    '@tidemark/md',
    '@tidemark/fs-ext3',
    '@tidemark/testkit',
    '@tidemark/testkit/host',
  ],
};

/** Names that bring in time, randomness, the event loop or the host. Core and plugins get these by token. */
const HOST_NAMES = (
  'Date performance setTimeout setInterval setImmediate queueMicrotask clearTimeout clearInterval Buffer process console crypto fetch ' +
  'Math.random AbortController TextEncoder TextDecoder Worker require'
).split(' ');

const SRC_LINES_MAX = 500;

/** Package, whether in `host/`, and floor (core only) of a file in `packages/X/src`; null for any other file. */
function place(file: string): { name: string; host: boolean; floor: string | null } | null {
  const match = /^packages\/([^/]+)\/src\/(?:([^/]+)\/)?/.exec(file);
  if (match === null) return null;
  return { name: match[1], host: match[2] === 'host', floor: match[1] === 'core' && FLOORS.includes(match[2] ?? '') ? match[2] : null };
}

/** Import lines: floors, plugins, `node:` only in `host/`, the container only through di.ts, relative ones complete and inside the package. */
export function importComplaints(file: SourceFile): string[] {
  const at = place(file.path);
  if (at === null) return [];
  const complaints: string[] = [];
  const allowed = MAY_IMPORT[at.name];
  for (const { specifier } of file.imports) {
    const refuse = (why: string): number => complaints.push(`${file.path}: imports ${specifier}, ${why}`);
    if (specifier.startsWith('.')) {
      if (!specifier.endsWith('.js')) refuse('which does not end in .js');
      const target = path.posix.join(path.posix.dirname(file.path), specifier);
      const there = place(target);
      if (there?.name !== at.name) refuse('which is outside the package');
      else if (there.host && !at.host) refuse('and only host/ knows the host');
      else if (at.floor !== null && (there.floor === null || FLOORS.indexOf(there.floor) > FLOORS.indexOf(at.floor))) {
        refuse(`which is above the floor ${at.floor}/`);
      }
    } else if (specifier === 'tsyringe' || specifier === 'reflect-metadata') {
      if (file.path !== 'packages/core/src/kernel/di.ts') refuse('which only core/src/kernel/di.ts may');
    } else if (allowed === undefined) {
      // The command may use Node and every published entry point.
      if (/^@tidemark\/[^/]+\/(?!host$)/.test(specifier)) refuse('which is not a published entry point');
    } else if (specifier.startsWith('@tidemark/')) {
      if (!allowed.includes(specifier) || (specifier.endsWith('/host') && !at.host)) refuse(`and ${at.name} may not`);
    } else if (at.host ? !specifier.startsWith('node:') : at.name !== 'core' || specifier !== 'eventemitter3') {
      refuse(at.host ? 'which is neither Tidemark nor node:' : 'which is not Tidemark');
    }
  }
  return complaints;
}

/** What an example may import: itself, published entry points, and what its manifest names. It is written as somebody outside would. */
export function exampleComplaints(file: SourceFile, dependencies: readonly string[]): string[] {
  const complaints: string[] = [];
  const folder = /^examples\/[^/]+/.exec(file.path)?.[0] ?? '';
  for (const { specifier } of file.imports) {
    const refuse = (why: string): number => complaints.push(`${file.path}: imports ${specifier}, ${why}`);
    if (specifier.startsWith('.')) {
      if (!path.posix.join(path.posix.dirname(file.path), specifier).startsWith(`${folder}/`)) refuse('which is outside the example');
    } else if (/^@tidemark\/[^/]+\/(?!host$|conformance$)/.test(specifier)) refuse('which is not a published entry point');
    else if (!specifier.startsWith('node:') && !dependencies.some((name) => specifier === name || specifier.startsWith(`${name}/`)))
      refuse('which its package.json does not name');
  }
  if (file.path.includes('/src/') && !file.text.startsWith('/**')) complaints.push(`${file.path}: does not open with a module comment`);
  return complaints;
}

/** Time, randomness and host globals outside `host/`. */
export function globalComplaints(file: SourceFile): string[] {
  const at = place(file.path);
  if (at === null || at.host || MAY_IMPORT[at.name] === undefined) return [];
  return HOST_NAMES.filter((name) => file.names.has(name)).map((name) => `${file.path}: uses ${name}, which must come in through a token`);
}

/** A module opens with a comment that says what it is for, and is not too long to read. */
export function shapeComplaints(file: SourceFile): string[] {
  if (place(file.path) === null) return [];
  const complaints: string[] = [];
  const lines = file.text.split('\n').length - 1;
  if (lines > SRC_LINES_MAX) complaints.push(`${file.path}: ${lines} lines, at most ${SRC_LINES_MAX}`);
  if (!file.text.startsWith('/**')) complaints.push(`${file.path}: does not open with a module comment`);
  return complaints;
}

const LEFT_OVER = new RegExp(`\\b(?:${['TO', 'FIX', 'X'].map((word, i) => word + ['DO', 'ME', 'XX'][i]).join('|')})\\b`);
const SWITCHED_OFF = /\b(?:it|test|describe)\.(?:only|skip|todo)\b/;
const MACHINE_PATH = /(?<![\w.:@$}/-])\/(?:home|root|work|Users)\/\w/;

/** Nothing left over: work to do, tests switched off, paths of one machine. For every text file of the repository. */
export function leftOverComplaints(at: string, text: string): string[] {
  const complaints: string[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    const found = [LEFT_OVER, SWITCHED_OFF, MACHINE_PATH].map((pattern) => pattern.exec(line)?.[0]).find((hit) => hit !== undefined);
    if (found !== undefined) complaints.push(`${at}:${index + 1}: ${found}`);
  }
  return complaints;
}

/** Modules of `files` (one package) that no entry point reaches. */
export function unreachableComplaints(files: readonly SourceFile[], entries: readonly string[]): string[] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const reached = new Set<string>();
  const visit = (at: string): void => {
    const file = byPath.get(at);
    if (file === undefined || reached.has(at)) return;
    reached.add(at);
    for (const target of relativeImports(file, false)) visit(target);
  };
  for (const entry of entries) visit(entry);
  return files.filter((file) => !reached.has(file.path)).map((file) => `${file.path}: nothing that is exported reaches it`);
}

/** Cycles of imports that are still there when compiled: under a test runner they give `undefined`, in built code a ReferenceError. */
export function cycleComplaints(files: readonly SourceFile[]): string[] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const done = new Set<string>();
  const complaints: string[] = [];
  const visit = (at: string, above: readonly string[]): void => {
    if (above.includes(at)) complaints.push(`${at}: import cycle ${[...above.slice(above.indexOf(at)), at].join(' → ')}`);
    if (above.includes(at) || done.has(at)) return;
    const file = byPath.get(at);
    if (file !== undefined) for (const target of relativeImports(file, true)) visit(target, [...above, at]);
    done.add(at);
  };
  for (const file of files) visit(file.path, []);
  return complaints;
}

function relativeImports(file: SourceFile, valuesOnly: boolean): string[] {
  return file.imports
    .filter(({ specifier, typeOnly }) => specifier.startsWith('.') && !(valuesOnly && typeOnly))
    .map(({ specifier }) => path.posix.join(path.posix.dirname(file.path), specifier).replace(/\.js$/, '.ts'));
}

/** The lockfile names no host: it works with whatever registry is configured. */
export function lockfileComplaints(text: string): string[] {
  return [...text.matchAll(/^.*(?:https?:\/\/|git\+|(?<![\w-])git@).*$/gm)].map(([line]) => `pnpm-lock.yaml: names a host: ${line.trim()}`);
}

/** The manifest of a published package. */
export interface Manifest {
  name: string;
  license?: string;
  type?: string;
  engines?: { node?: string };
  files?: string[];
  exports?: Record<string, Record<string, string>>;
}

/** A manifest that would publish something else than the others do. */
export function manifestComplaints(at: string, manifest: Manifest): string[] {
  const complaints: string[] = [];
  const want = (holds: boolean, what: string): void => {
    if (!holds) complaints.push(`${at}: ${what}`);
  };
  want(manifest.license === 'Apache-2.0', 'license is not Apache-2.0');
  want(manifest.type === 'module', 'is not an ES module');
  want(manifest.engines?.node === '>=20.19', 'engines.node is not >=20.19');
  for (const part of ['dist', 'src', 'README.md', 'LICENSE']) want(manifest.files?.includes(part) ?? false, `does not publish ${part}`);
  for (const [entry, conditions] of Object.entries(manifest.exports ?? {})) {
    want(Object.keys(conditions).join() === '@tidemark/source,types,import', `export ${entry} is not source, types, import, in this order`);
  }
  want(manifest.exports !== undefined, 'exports nothing');
  return complaints;
}
