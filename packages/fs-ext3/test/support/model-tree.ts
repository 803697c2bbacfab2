/** A tree of files as it should be: the model that a mounted filesystem is compared with. */
import fs from 'node:fs';
import path from 'node:path';

export interface ModelFile {
  readonly kind: 'file';
  data: Buffer;
  nlink: number;
  readonly xattrs: Map<string, Buffer>;
}

export interface ModelLink {
  readonly kind: 'link';
  readonly target: string;
  readonly xattrs: Map<string, Buffer>;
}

export interface ModelSpecial {
  readonly kind: 'special';
  /** Type bits of its mode, and its device number. */
  readonly type: number;
  readonly rdev: number;
  readonly xattrs: Map<string, Buffer>;
}

export interface ModelDirectory {
  readonly kind: 'directory';
  readonly entries: Map<string, ModelNode>;
  readonly xattrs: Map<string, Buffer>;
}

export type ModelNode = ModelFile | ModelLink | ModelSpecial | ModelDirectory;

export function modelDirectory(): ModelDirectory {
  return { kind: 'directory', entries: new Map(), xattrs: new Map() };
}

/** Writes into a file of the model, which grows as far as it must. */
export function modelWrite(file: ModelFile, offset: number, bytes: Uint8Array): void {
  if (bytes.length === 0) return;
  if (offset + bytes.length > file.data.length) modelResize(file, offset + bytes.length);
  file.data.set(bytes, offset);
}

export function modelResize(file: ModelFile, size: number): void {
  const data = Buffer.alloc(size);
  file.data.copy(data, 0, 0, Math.min(size, file.data.length));
  file.data = data;
}

/** Every node below a directory, with its path. */
export function* walkModel(
  directory: ModelDirectory,
  at = '',
): Generator<[path: string, node: ModelNode, parent: ModelDirectory, name: string]> {
  for (const [name, node] of directory.entries) {
    const where = `${at}/${name}`;
    yield [where, node, directory, name];
    if (node.kind === 'directory') yield* walkModel(node, where);
  }
}

/** One line for each file, for comparing trees. */
export function describeModel(root: ModelDirectory, top = ''): string[] {
  const lines: string[] = [];
  for (const [where, node] of walkModel(root, top)) lines.push(`${where} ${describe(node)}`);
  return lines.sort();
}

function describe(node: ModelNode): string {
  if (node.kind === 'file') return describeFile(node.data);
  return node.kind === 'link' ? `link ${node.target}` : node.kind === 'directory' ? 'directory' : 'special';
}

export function describeFile(data: Uint8Array): string {
  let sum = 0;
  for (const byte of data) sum = (Math.imul(sum, 31) + byte) | 0;
  return `file ${data.length} ${sum}`;
}

/** The same of a directory of the host. */
export function describeHost(top: string): string[] {
  const lines: string[] = [];
  const walk = (at: string): void => {
    for (const entry of fs.readdirSync(path.join(top, at), { withFileTypes: true })) {
      const where = `${at}/${entry.name}`;
      if (where === '/lost+found') continue;
      const full = path.join(top, where);
      if (entry.isDirectory()) {
        lines.push(`${where} directory`);
        walk(where);
      } else if (entry.isSymbolicLink()) lines.push(`${where} link ${fs.readlinkSync(full)}`);
      else if (entry.isFile()) lines.push(`${where} ${describeFile(fs.readFileSync(full))}`);
      else lines.push(`${where} special`);
    }
  };
  walk('');
  return lines.sort();
}
