import { decodeUtf8, encodeUtf8, Errno } from '@tidemark/core';
import { formatUri, parseUri } from '@tidemark/nbd';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FlushLedger } from '../src/client/flush-ledger.js';
import { getU64, setU64 } from '../src/protocol/messages.js';
import { statusOfWireError, wireError } from '../src/protocol/wire-errors.js';

describe('URIs', () => {
  it.each([
    ['nbd://localhost', 'localhost', 10809, ''],
    ['nbd://localhost/', 'localhost', 10809, ''],
    ['nbd://10.0.0.1:5/disk', '10.0.0.1', 5, 'disk'],
    ['nbd://[::1]:5//disk', '::1', 5, '/disk'],
    ['NBD://h/a%20b%2Fc', 'h', 10809, 'a b/c'],
  ])('reads %s', (uri, host, port, exportName) => {
    expect(parseUri(uri)).toMatchObject({ address: { kind: 'tcp', host, port }, exportName });
  });

  it('reads a unix socket', () => {
    expect(parseUri('nbd+unix:///a?socket=/run/x%20y.sock')).toMatchObject({
      address: { kind: 'unix', path: '/run/x y.sock' },
      exportName: 'a',
    });
  });

  it.each([
    'nbd:',
    'nbd:/x',
    'nbd://',
    'nbd:///x',
    'nbd://h:0/',
    'nbd://h:65536/',
    'nbd://h:/',
    'nbd://h:x/',
    'nbd://u@h/',
    'nbd://h/%zz',
    'nbd://h/%ff',
    'nbd://h/%00',
    'nbd://h/x?socket=/a',
    'nbd+unix:///x',
    'nbd+unix:///x?socket=',
    'nbd+unix://h/x?socket=/a',
    'nbd+unix:///x?socket=/a&socket=/b',
    'nbd://h/x?tls=1',
    'nbd://h/x#f',
    'http://h/',
    '',
  ])('refuses %j', (uri) => {
    expect(() => parseUri(uri)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });

  it('refuses TLS by name', () => {
    expect(() => parseUri('nbds://h/x')).toThrow(expect.objectContaining({ code: 'EPROTONOSUPPORT' }));
  });

  it('reads back what it writes', () => {
    const address = fc.oneof(
      fc.record({
        kind: fc.constant('tcp' as const),
        host: fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain()),
        port: fc.integer({ min: 1, max: 65535 }),
      }),
      fc.record({
        kind: fc.constant('unix' as const),
        path: fc.string({ minLength: 1, maxLength: 20, unit: 'grapheme' }).filter((path) => !path.includes('\0')),
      }),
    );
    const name = fc.string({ unit: 'grapheme', maxLength: 50 }).filter((text) => !text.includes('\0'));
    fc.assert(
      fc.property(address, name, (where, exportName) => {
        expect(parseUri(formatUri(where, exportName))).toMatchObject({ address: where, exportName });
      }),
    );
  });
});

describe('the wire', () => {
  it('encodes and decodes UTF-8 as the host does', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect([...encodeUtf8(text)]).toEqual([...new TextEncoder().encode(text)]);
      }),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 12 }), (bytes) => {
        let expected: string | null = null;
        try {
          expected = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
        } catch {
          expected = null;
        }
        expect(decodeUtf8(bytes, 0, bytes.length)).toBe(expected?.includes('\0') ? null : expected);
      }),
      { numRuns: 2000 },
    );
  });

  it('keeps 64-bit numbers up to 2^53, and lets no larger one pass for a number', () => {
    const view = new DataView(new ArrayBuffer(8));
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (value) => {
        view.setBigUint64(0, value);
        expect(getU64(view, 0)).toBe(value < 2n ** 53n ? Number(value) : Number.POSITIVE_INFINITY);
      }),
    );
    fc.assert(
      fc.property(fc.maxSafeNat(), (value) => {
        setU64(view, 0, value);
        expect(view.getBigUint64(0)).toBe(BigInt(value));
      }),
    );
  });

  it('sends only error numbers of the protocol, and takes foreign ones as EINVAL', () => {
    const known = [1, 5, 12, 22, 28, 75, 95, 108];
    for (const errno of Object.values(Errno)) expect(known).toContain(wireError(-errno));
    expect([wireError(0), wireError(-Errno.EROFS), wireError(-Errno.EFBIG), wireError(-Errno.ESTALE)]).toEqual([0, 1, 28, 5]);
    expect([statusOfWireError(0), statusOfWireError(28), statusOfWireError(4242), statusOfWireError(0xffffffff)]).toEqual([
      0, -28, -22, -22,
    ]);
  });
});

describe('flush ledger', () => {
  it('reports a loss exactly once, and only of what no flush had covered', () => {
    const step = fc.constantFrom('write', 'flush', 'lost');
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const ledger = new FlushLedger();
        let uncovered: { lost: boolean }[] = []; // the model: writes acknowledged, and neither flushed nor reported
        for (const what of steps) {
          if (what === 'write') {
            ledger.acknowledge();
            uncovered.push({ lost: false });
          } else if (what === 'lost') {
            ledger.connectionLost();
            for (const write of uncovered) write.lost = true;
          } else {
            const losses = uncovered.some((write) => write.lost);
            expect(ledger.hasLosses).toBe(losses);
            if (losses) ledger.reportLosses();
            else ledger.flushed(ledger.mark);
            uncovered = losses ? uncovered.filter((write) => !write.lost) : [];
          }
        }
      }),
    );
  });

  it('does not let a flush cover what was acknowledged after it was sent', () => {
    const ledger = new FlushLedger();
    ledger.acknowledge();
    const { mark } = ledger;
    ledger.acknowledge();
    ledger.flushed(mark);
    ledger.connectionLost();
    expect(ledger.hasLosses).toBe(true);
  });
});
