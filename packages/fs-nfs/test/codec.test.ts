/** What is written is read again, and what is not so is refused without harm. */
import { Errno } from '@tidemark/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as args from '../src/protocol/arguments.js';
import { type FileAttributes, getAttributes, msOfTime, putAttributes, timeOfMs } from '../src/protocol/attributes.js';
import * as mount from '../src/protocol/mount3.js';
import { CreateMode, errnoOfStatus, NfsStatus, NfsType, Nfs3, statusOfErrno } from '../src/protocol/nfs3-constants.js';
import * as results from '../src/protocol/results.js';
import { AuthFlavor, callHeadBytes, getCall, getReply, NOBODY, putAccepted, putCall, putDenied } from '../src/rpc/rpc-message.js';
import { XdrError, XdrReader } from '../src/xdr/xdr-reader.js';
import { XdrWriter } from '../src/xdr/xdr-writer.js';

/** A view of the message becomes bytes of its own, so that two can be compared. */
function settled(value: unknown): unknown {
  if (value instanceof Uint8Array) return [...value];
  if (Array.isArray(value)) return value.map(settled);
  if (typeof value === 'object' && value !== null) return Object.fromEntries(Object.entries(value).map(([key, of]) => [key, settled(of)]));
  return value;
}

const SIZE = 16_384;
function roundTrip<T>(value: T, put: (out: XdrWriter, value: T) => void, get: (input: XdrReader) => unknown): void {
  const bytes = new Uint8Array(SIZE).fill(0xee);
  const out = new XdrWriter().reset(bytes, 8);
  put(out, value);
  expect(out.length % 4).toBe(0);
  const input = new XdrReader().reset(bytes, 8, 8 + out.length);
  expect(settled(get(input))).toEqual(settled(value));
  expect(input.left).toBe(0);
  // Cut off anywhere it is refused, and nothing else happens.
  for (let length = 0; length < out.length; length += 4) {
    expect(() => get(new XdrReader().reset(bytes, 8, 8 + length))).toThrow(XdrError);
  }
}

const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const u53 = fc.maxSafeNat();
const word = fc.uint8Array({ minLength: 8, maxLength: 8 });
const handle = fc.uint8Array({ minLength: 1, maxLength: 64 });
const name = fc
  .uint8Array({ minLength: 1, maxLength: 255 })
  .map((bytes) => bytes.map((byte) => (byte === 0 || byte === 0x2f ? 0x61 : byte)));
const time = fc.record({ seconds: u32, nanoseconds: fc.integer({ min: 0, max: 999_999_999 }) });
const attributes: fc.Arbitrary<FileAttributes> = fc.record({
  mode: fc.tuple(fc.constantFrom(0x8000, 0x4000, 0x6000, 0x2000, 0xa000, 0xc000, 0x1000), fc.nat(0xfff)).map(([type, bits]) => type | bits),
  nlink: u32,
  uid: u32,
  gid: u32,
  sizeBytes: u53,
  usedBytes: u53,
  rdevMajor: u32,
  rdevMinor: u32,
  fsid: u53,
  fileid: u53,
  atime: time,
  mtime: time,
  ctime: time,
});
const optional = fc.option(attributes);
const wcc = fc.record({ before: fc.option(fc.record({ sizeBytes: u53, mtime: time, ctime: time })), after: optional });
const timeChange = fc.oneof(fc.constant('server' as const), fc.constant(null), time);
const newAttributes = fc.record({
  mode: fc.option(fc.nat(0xfff)),
  uid: fc.option(u32),
  gid: fc.option(u32),
  sizeBytes: fc.option(u53),
  atime: timeChange,
  mtime: timeChange,
});
const where = { directory: handle, name };
const range = { handle, offsetBytes: u53, countBytes: fc.nat(4096) };

describe('arguments', () => {
  const check = <T>(arbitrary: fc.Arbitrary<T>, put: (out: XdrWriter, value: T) => void, get: (input: XdrReader) => unknown): void =>
    fc.assert(
      fc.property(arbitrary, (value) => roundTrip(value, put, get)),
      { numRuns: 40 },
    );

  it('of every procedure come back as they were written', () => {
    check(fc.record(where), args.putDirectoryArguments, args.getDirectoryArguments);
    check(fc.record({ handle, attributes: newAttributes, guard: fc.option(time) }), args.putSetAttributes, args.getSetAttributes);
    check(fc.record(range), args.putRange, args.getRange);
    check(fc.record({ ...where, attributes: newAttributes }), args.putMakeDirectory, args.getMakeDirectory);
    check(fc.record({ ...where, attributes: newAttributes, target: name }), args.putMakeSymlink, args.getMakeSymlink);
    check(fc.record({ from: fc.record(where), to: fc.record(where) }), args.putRename, args.getRename);
    check(fc.record({ handle, to: fc.record(where) }), args.putLink, args.getLink);
    check(
      fc.record({
        ...where,
        mode: fc.constantFrom(CreateMode.UNCHECKED, CreateMode.GUARDED),
        attributes: newAttributes,
        verifier: fc.constant(null),
      }),
      args.putCreate,
      args.getCreate,
    );
    check(
      fc.record({ ...where, mode: fc.constant(CreateMode.EXCLUSIVE), attributes: fc.constant(null), verifier: word }),
      args.putCreate,
      args.getCreate,
    );
    check(
      fc.record({
        ...where,
        type: fc.constantFrom(NfsType.BLOCK, NfsType.CHARACTER),
        attributes: newAttributes,
        rdevMajor: u32,
        rdevMinor: u32,
      }),
      args.putMakeNode,
      args.getMakeNode,
    );
    const readDirectory = fc.record({ handle, cookie: word, verifier: word, namesBytesMax: u32, resultBytesMax: u32 });
    check(
      readDirectory,
      (out, value) => args.putReadDirectory(out, value, true),
      (input) => args.getReadDirectory(input, true),
    );
  });

  it('of a write say how much data follows, and no more than is allowed', () => {
    const bytes = new Uint8Array(256);
    const out = new XdrWriter().reset(bytes);
    args.putWrite(out, { handle: new Uint8Array(4), offsetBytes: 2 ** 40, countBytes: 100 }, 2);
    const get = (max: number) => args.getWrite(new XdrReader().reset(bytes, 0, out.length), max);
    expect(get(100)).toMatchObject({ offsetBytes: 2 ** 40, countBytes: 100, dataBytes: 100, stable: 2 });
    expect(() => get(99)).toThrow('the data of a write has a length of 100; at most 99 is allowed');
  });
});

describe('results', () => {
  const check = <T>(arbitrary: fc.Arbitrary<T>, put: (out: XdrWriter, value: T) => void, get: (input: XdrReader) => unknown): void =>
    fc.assert(
      fc.property(arbitrary, (value) => roundTrip(value, put, get)),
      { numRuns: 40 },
    );

  it('of every procedure come back as they were written', () => {
    check(attributes, putAttributes, getAttributes);
    check(fc.record({ handle, attributes: optional, directory: optional }), results.putLookup, results.getLookup);
    check(fc.record({ attributes: optional, countBytes: fc.nat(4096), isEnd: fc.boolean() }), results.putRead, (input) =>
      results.getRead(input, 4096),
    );
    check(fc.record({ wcc, countBytes: u32, committed: fc.nat(2), verifier: word }), results.putWritten, results.getWritten);
    check(fc.record({ wcc, verifier: word }), results.putCommitted, results.getCommitted);
    check(fc.record({ handle: fc.option(handle), attributes: optional, directory: wcc }), results.putCreated, results.getCreated);
    check(fc.record({ handle, flavors: fc.array(u32, { maxLength: 8 }) }), mount.putMounted, (input) => {
      expect(input.u32()).toBe(0);
      return mount.getMounted(input);
    });
    const exports = fc.array(fc.record({ path: name, groups: fc.array(name, { maxLength: 3 }) }), { maxLength: 4 });
    check(exports, mount.putExports, mount.getExports);
  });

  it('of a directory hold what fits, and each entry takes what it says', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ fileid: u53, name, cookie: u53, attributes: fc.constant(null), handle: fc.option(handle) }), { maxLength: 8 }),
        (entries) => {
          const bytes = new Uint8Array(SIZE);
          const out = new XdrWriter().reset(bytes);
          out.bool(false).fixed(new Uint8Array(8));
          for (const entry of entries) {
            const before = out.length;
            results.putEntry(out, entry.fileid, entry.name, entry.cookie, entry);
            const most = results.entryBytes(entry.name.length, entry.handle?.length ?? 0);
            expect(out.length - before).toBeLessThanOrEqual(most);
          }
          out.bool(false).bool(true);
          const read = results.getReadDirectoryResult(new XdrReader().reset(bytes, 0, out.length), true);
          expect(read.isEnd).toBe(true);
          expect(read.entries.map((entry) => settled(entry.name))).toEqual(entries.map((entry) => settled(entry.name)));
          expect(read.entries.map(({ fileid }) => fileid)).toEqual(entries.map(({ fileid }) => fileid));
        },
      ),
    );
  });

  it('of a failure are as long as a client expects, for every procedure', () => {
    const nothing: Record<number, (input: XdrReader) => unknown> = {
      [Nfs3.LOOKUP]: (input) => input.bool(),
      [Nfs3.WRITE]: (input) => [input.bool(), input.bool()],
      [Nfs3.RENAME]: results.getRenamed,
      [Nfs3.LINK]: results.getLinked,
    };
    for (const [procedure, get] of Object.entries(nothing)) {
      const bytes = new Uint8Array(64);
      const out = new XdrWriter().reset(bytes);
      results.putFailure(out, Number(procedure), NfsStatus.STALE);
      const input = new XdrReader().reset(bytes, 0, out.length);
      expect(input.u32()).toBe(NfsStatus.STALE);
      get(input);
      expect(input.left).toBe(0);
    }
  });
});

describe('messages', () => {
  const head = { xid: 7, program: 100_003, version: 3, procedure: 6 };

  it('carry who calls', () => {
    const bytes = new Uint8Array(512);
    const machine = new TextEncoder().encode('a-host');
    const who = { flavor: AuthFlavor.SYS, uid: 1000, gid: 100, groups: Array.from({ length: 20 }, (_, i) => i) };
    const out = new XdrWriter().reset(bytes);
    putCall(out, head, who, machine);
    expect(out.length).toBe(callHeadBytes(machine.length));
    const call = getCall(new XdrReader().reset(bytes, 0, out.length));
    expect(call).toEqual({ kind: 'call', head, credentials: { ...who, groups: who.groups.slice(0, 16) } });
  });

  it('with credentials that do not fit into their length are refused, unless they call procedure 0', () => {
    const bytes = new Uint8Array(512);
    for (const procedure of [0, 6]) {
      const out = new XdrWriter().reset(bytes);
      out.u32(7).u32(0).u32(2).u32(100_003).u32(3).u32(procedure);
      out.u32(AuthFlavor.SYS).u32(12).u32(0).u32(255).u32(0);
      out.u32(0).u32(0);
      const call = getCall(new XdrReader().reset(bytes, 0, out.length));
      expect(call.kind).toBe(procedure === 0 ? 'call' : 'auth-error');
    }
  });

  it('of any bytes whatever end in a call, a refusal or an XdrError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), fc.boolean(), (noise, isCall) => {
        const bytes = Uint8Array.of(...(isCall ? [0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 2] : []), ...noise);
        for (const parse of [getCall, getReply]) {
          try {
            parse(new XdrReader().reset(bytes));
          } catch (error) {
            expect(error).toBeInstanceOf(XdrError);
          }
        }
      }),
      { numRuns: 500 },
    );
  });

  it('of a reply say what became of the call', () => {
    const bytes = new Uint8Array(64);
    const reply = (put: (out: XdrWriter) => void) => {
      const out = new XdrWriter().reset(bytes);
      put(out);
      const input = new XdrReader().reset(bytes, 0, out.length);
      expect(input.u32()).toBe(7);
      return getReply(input);
    };
    expect(reply((out) => putAccepted(out, 7, 0))).toEqual({ kind: 'success' });
    expect(reply((out) => putAccepted(out, 7, 4))).toEqual({ kind: 'error', status: 4 });
    expect(reply((out) => putDenied(out, { kind: 'rpc-mismatch', xid: 7 }))).toEqual({ kind: 'mismatch', lowest: 2, highest: 2 });
    expect(reply((out) => putDenied(out, { kind: 'auth-error', xid: 7, status: 1 }))).toEqual({ kind: 'auth-error', status: 1 });
    expect(NOBODY.uid).toBe(65_534);
  });
});

describe('numbers', () => {
  it('of errors go both ways', () => {
    for (const status of Object.values(NfsStatus)) if (status !== 0) expect(errnoOfStatus(status)).toBeLessThan(0);
    for (const errno of [Errno.ENOENT, Errno.EEXIST, Errno.ENOSPC, Errno.ESTALE, Errno.EOPNOTSUPP, Errno.EACCES]) {
      expect(errnoOfStatus(statusOfErrno(-errno))).toBe(-errno);
    }
    expect(statusOfErrno(-Errno.ENOMEM)).toBe(NfsStatus.JUKEBOX);
    expect(errnoOfStatus(12_345)).toBe(-Errno.EIO);
  });

  it('of times keep what a number of milliseconds can hold', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 42 }), (ms) => {
        expect(msOfTime(timeOfMs(ms))).toBe(ms);
      }),
    );
    expect(timeOfMs(1999.9999999)).toEqual({ seconds: 2, nanoseconds: 0 });
  });
});
