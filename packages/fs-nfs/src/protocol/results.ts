/**
 * Results of NFSv3's procedures (RFC 1813, 3.3) behind their status: for each, what a server writes and what a client reads. A failure's
 * body, where it has one, is attributes alone.
 */
import type { XdrReader } from '../xdr/xdr-reader.js';
import { padded } from '../xdr/xdr-reader.js';
import type { XdrWriter } from '../xdr/xdr-writer.js';
import {
  FATTR_BYTES,
  type FileAttributes,
  getIdentifier,
  getOptionalAttributes,
  getTime,
  getWcc,
  type NfsTime,
  NO_WCC,
  putOptionalAttributes,
  putTime,
  putWcc,
  type WeakCacheData,
} from './attributes.js';
import { getHandle } from './arguments.js';
import { NAME_BYTES_MAX, Nfs3, PATH_BYTES_MAX, VERIFIER_BYTES } from './nfs3-constants.js';

/** What a procedure answers with when it fails. */
export type FailureBody = 'nothing' | 'attributes' | 'wcc' | 'two-wccs' | 'attributes-wcc';

const FAILURES: Readonly<Record<number, FailureBody>> = {
  [Nfs3.GETATTR]: 'nothing',
  [Nfs3.SETATTR]: 'wcc',
  [Nfs3.LOOKUP]: 'attributes',
  [Nfs3.ACCESS]: 'attributes',
  [Nfs3.READLINK]: 'attributes',
  [Nfs3.READ]: 'attributes',
  [Nfs3.WRITE]: 'wcc',
  [Nfs3.CREATE]: 'wcc',
  [Nfs3.MKDIR]: 'wcc',
  [Nfs3.SYMLINK]: 'wcc',
  [Nfs3.MKNOD]: 'wcc',
  [Nfs3.REMOVE]: 'wcc',
  [Nfs3.RMDIR]: 'wcc',
  [Nfs3.RENAME]: 'two-wccs',
  [Nfs3.LINK]: 'attributes-wcc',
  [Nfs3.READDIR]: 'attributes',
  [Nfs3.READDIRPLUS]: 'attributes',
  [Nfs3.FSSTAT]: 'attributes',
  [Nfs3.FSINFO]: 'attributes',
  [Nfs3.PATHCONF]: 'attributes',
  [Nfs3.COMMIT]: 'wcc',
};

/**
 * Writes a failure: its status, and a body that says what is known of the files it is about.
 * @param first the file or directory named first, @param second the other one; null says nothing.
 */
export function putFailure(
  out: XdrWriter,
  procedure: number,
  status: number,
  first: WeakCacheData | null = null,
  second: WeakCacheData | null = null,
): void {
  out.u32(status);
  const body = FAILURES[procedure] ?? 'nothing';
  if (body === 'nothing') return;
  if (body === 'attributes' || body === 'attributes-wcc') putOptionalAttributes(out, first?.after ?? null);
  else putWcc(out, first ?? NO_WCC);
  if (body === 'two-wccs' || body === 'attributes-wcc') putWcc(out, second ?? NO_WCC);
}

/** What a failure says of the files it is about. */
export interface Failure {
  readonly first: WeakCacheData;
  readonly second: WeakCacheData;
}

/** Reads the body of a failure, behind its status. */
export function getFailure(input: XdrReader, procedure: number): Failure {
  const body = FAILURES[procedure] ?? 'nothing';
  if (body === 'nothing') return { first: NO_WCC, second: NO_WCC };
  const isAttributes = body === 'attributes' || body === 'attributes-wcc';
  const first = isAttributes ? { before: null, after: getOptionalAttributes(input) } : getWcc(input);
  return { first, second: body === 'two-wccs' || body === 'attributes-wcc' ? getWcc(input) : NO_WCC };
}

/** LOOKUP. */
export interface LookupResult {
  readonly handle: Uint8Array;
  readonly attributes: FileAttributes | null;
  readonly directory: FileAttributes | null;
}

export function getLookup(input: XdrReader): LookupResult {
  return { handle: getHandle(input), attributes: getOptionalAttributes(input), directory: getOptionalAttributes(input) };
}

export function putLookup(out: XdrWriter, { handle, attributes, directory }: LookupResult): void {
  out.opaque(handle);
  putOptionalAttributes(out, attributes);
  putOptionalAttributes(out, directory);
}

/** READ, in front of the data. */
export interface ReadResult {
  readonly attributes: FileAttributes | null;
  readonly countBytes: number;
  readonly isEnd: boolean;
}

/** The result in front of the data; the reader then stands on it, and there are `countBytes` of it. */
export function getRead(input: XdrReader, maxBytes: number): ReadResult {
  const attributes = getOptionalAttributes(input);
  const countBytes = input.u32();
  const isEnd = input.bool();
  if (input.length(maxBytes, 'the data of a read') !== countBytes) input.fail('a read has data of another length than it says');
  return { attributes, countBytes, isEnd };
}

export function putRead(out: XdrWriter, { attributes, countBytes, isEnd }: ReadResult): void {
  putOptionalAttributes(out, attributes);
  out.u32(countBytes).bool(isEnd).u32(countBytes);
}

/** WRITE. */
export interface WriteResult {
  readonly wcc: WeakCacheData;
  readonly countBytes: number;
  readonly committed: number;
  readonly verifier: Uint8Array;
}

export function getWritten(input: XdrReader): WriteResult {
  return {
    wcc: getWcc(input),
    countBytes: input.u32(),
    committed: input.enum(2, 'how a write was committed'),
    verifier: input.fixed(VERIFIER_BYTES),
  };
}

export function putWritten(out: XdrWriter, { wcc, countBytes, committed, verifier }: WriteResult): void {
  putWcc(out, wcc);
  out.u32(countBytes).u32(committed).fixed(verifier);
}

/** COMMIT. */
export interface CommitResult {
  readonly wcc: WeakCacheData;
  readonly verifier: Uint8Array;
}

export function getCommitted(input: XdrReader): CommitResult {
  return { wcc: getWcc(input), verifier: input.fixed(VERIFIER_BYTES) };
}

export function putCommitted(out: XdrWriter, { wcc, verifier }: CommitResult): void {
  putWcc(out, wcc);
  out.fixed(verifier);
}

/** CREATE, MKDIR, SYMLINK, MKNOD. */
export interface CreateResult {
  readonly handle: Uint8Array | null;
  readonly attributes: FileAttributes | null;
  readonly directory: WeakCacheData;
}

export function getCreated(input: XdrReader): CreateResult {
  return { handle: input.bool() ? getHandle(input) : null, attributes: getOptionalAttributes(input), directory: getWcc(input) };
}

export function putCreated(out: XdrWriter, { handle, attributes, directory }: CreateResult): void {
  out.bool(handle !== null);
  if (handle !== null) out.opaque(handle);
  putOptionalAttributes(out, attributes);
  putWcc(out, directory);
}

/** ACCESS. */
export function getAccess(input: XdrReader): { attributes: FileAttributes | null; allowed: number } {
  return { attributes: getOptionalAttributes(input), allowed: input.u32() };
}

/** READLINK. */
export function getReadLink(input: XdrReader): { attributes: FileAttributes | null; target: Uint8Array } {
  return { attributes: getOptionalAttributes(input), target: input.opaque(PATH_BYTES_MAX, 'the target of a symbolic link') };
}

/** RENAME. */
export function getRenamed(input: XdrReader): { from: WeakCacheData; to: WeakCacheData } {
  return { from: getWcc(input), to: getWcc(input) };
}

/** LINK. */
export function getLinked(input: XdrReader): { attributes: FileAttributes | null; directory: WeakCacheData } {
  return { attributes: getOptionalAttributes(input), directory: getWcc(input) };
}

/** One entry of a directory. */
export interface NfsEntry {
  readonly fileid: number;
  readonly name: Uint8Array;
  readonly cookie: Uint8Array;
  /** READDIRPLUS, if the server says; else null. */
  readonly attributes: FileAttributes | null;
  readonly handle: Uint8Array | null;
}

/** READDIR and READDIRPLUS. */
export interface ReadDirectoryResult {
  readonly attributes: FileAttributes | null;
  readonly verifier: Uint8Array;
  readonly entries: readonly NfsEntry[];
  readonly isEnd: boolean;
}

/** Reads a list of entries; it is no longer than the message. Names that are none end it with an `XdrError`. */
export function getReadDirectoryResult(input: XdrReader, isPlus: boolean): ReadDirectoryResult {
  const attributes = getOptionalAttributes(input);
  const verifier = input.fixed(VERIFIER_BYTES);
  const entries: NfsEntry[] = [];
  while (input.bool()) {
    const fileid = getIdentifier(input);
    const name = input.opaque(NAME_BYTES_MAX, 'a name');
    if (name.length === 0 || name.includes(0x2f) || name.includes(0)) input.fail('a directory entry has a name that is none');
    const cookie = input.fixed(8);
    entries.push({
      fileid,
      name,
      cookie,
      attributes: isPlus ? getOptionalAttributes(input) : null,
      handle: isPlus && input.bool() ? getHandle(input) : null,
    });
  }
  return { attributes, verifier, entries, isEnd: input.bool() };
}

/** Bytes that one entry takes in a reply. */
export function entryBytes(nameBytes: number, handleBytes: number | null): number {
  const plus = handleBytes === null ? 0 : 4 + FATTR_BYTES + 4 + 4 + padded(handleBytes);
  return 4 + 8 + 4 + padded(nameBytes) + 8 + plus;
}

/** Writes one entry; `plus` is what READDIRPLUS says beside. */
export function putEntry(
  out: XdrWriter,
  fileid: number,
  name: Uint8Array,
  cookie: number,
  plus: { readonly attributes: FileAttributes | null; readonly handle: Uint8Array | null } | null,
): void {
  out.bool(true).u64(fileid).opaque(name).u64(cookie);
  if (plus === null) return;
  putOptionalAttributes(out, plus.attributes);
  out.bool(plus.handle !== null);
  if (plus.handle !== null) out.opaque(plus.handle);
}

/** FSSTAT. */
export interface FileSystemStatus {
  readonly totalBytes: number;
  readonly freeBytes: number;
  readonly availableBytes: number;
  readonly totalFiles: number;
  readonly freeFiles: number;
  readonly availableFiles: number;
}

export function getFileSystemStatus(input: XdrReader): FileSystemStatus & { attributes: FileAttributes | null } {
  const attributes = getOptionalAttributes(input);
  const [totalBytes, freeBytes, availableBytes, totalFiles, freeFiles, availableFiles] = Array.from({ length: 6 }, () => input.u64());
  input.skip(4);
  return { attributes, totalBytes, freeBytes, availableBytes, totalFiles, freeFiles, availableFiles };
}

export function putFileSystemStatus(out: XdrWriter, attributes: FileAttributes | null, status: FileSystemStatus): void {
  putOptionalAttributes(out, attributes);
  out.u64(status.totalBytes).u64(status.freeBytes).u64(status.availableBytes);
  out.u64(status.totalFiles).u64(status.freeFiles).u64(status.availableFiles).u32(0);
}

/** FSINFO. Bytes. */
export interface FileSystemInfo {
  readonly readMax: number;
  readonly readPreferred: number;
  readonly readMultiple: number;
  readonly writeMax: number;
  readonly writePreferred: number;
  readonly writeMultiple: number;
  readonly directoryPreferred: number;
  readonly fileSizeMax: number;
  readonly timeDelta: NfsTime;
  readonly properties: number;
}

export function getFileSystemInfo(input: XdrReader): FileSystemInfo & { attributes: FileAttributes | null } {
  return {
    attributes: getOptionalAttributes(input),
    readMax: input.u32(),
    readPreferred: input.u32(),
    readMultiple: input.u32(),
    writeMax: input.u32(),
    writePreferred: input.u32(),
    writeMultiple: input.u32(),
    directoryPreferred: input.u32(),
    fileSizeMax: input.u64(),
    timeDelta: getTime(input),
    properties: input.u32(),
  };
}

export function putFileSystemInfo(out: XdrWriter, attributes: FileAttributes | null, info: FileSystemInfo): void {
  putOptionalAttributes(out, attributes);
  out.u32(info.readMax).u32(info.readPreferred).u32(info.readMultiple);
  out.u32(info.writeMax).u32(info.writePreferred).u32(info.writeMultiple);
  out.u32(info.directoryPreferred).u64(info.fileSizeMax);
  putTime(out, info.timeDelta);
  out.u32(info.properties);
}

/** PATHCONF. */
export interface PathLimits {
  readonly linkMax: number;
  readonly nameBytesMax: number;
}

export function getPathLimits(input: XdrReader): PathLimits & { attributes: FileAttributes | null } {
  const limits = { attributes: getOptionalAttributes(input), linkMax: input.u32(), nameBytesMax: input.u32() };
  input.skip(16);
  return limits;
}

/** Names are not cut off, only root may chown, and case counts. */
export function putPathLimits(out: XdrWriter, attributes: FileAttributes | null, { linkMax, nameBytesMax }: PathLimits): void {
  putOptionalAttributes(out, attributes);
  out.u32(linkMax).u32(nameBytesMax).bool(true).bool(true).bool(false).bool(true);
}
