import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatAddress, parseAddress } from '@tidemark/net';

describe('addresses', () => {
  it('reads the three forms', () => {
    expect(parseAddress('localhost:10809')).toEqual({ kind: 'tcp', host: 'localhost', port: 10809 });
    expect(parseAddress('[::1]:0')).toEqual({ kind: 'tcp', host: '::1', port: 0 });
    expect(parseAddress('unix:/run/a b:c.sock')).toEqual({ kind: 'unix', path: '/run/a b:c.sock' });
  });

  it('takes the loopback where no host is given', () => {
    expect(parseAddress(':80')).toEqual({ kind: 'tcp', host: '127.0.0.1', port: 80 });
  });

  it.each([
    '',
    'localhost',
    'localhost:',
    'localhost:x',
    'a:65536',
    'a:-1',
    '::1:80',
    '[::1]',
    '[::1]:',
    '[x]:1',
    'unix:',
    'a b:1',
    'a/b:1',
    `unix:${'x'.repeat(108)}`,
    'unix:a\0b',
  ])('refuses %j', (text) => {
    expect(() => parseAddress(text)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });

  it('counts the bytes of a path, not its characters', () => {
    expect(parseAddress(`unix:${'ü'.repeat(53)}`).kind).toBe('unix');
    expect(() => parseAddress(`unix:${'ü'.repeat(54)}`)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });

  it('reads back what it writes', () => {
    const tcp = fc.record({
      kind: fc.constant('tcp' as const),
      host: fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain()),
      port: fc.integer({ min: 0, max: 65535 }),
    });
    const unix = fc.record({ kind: fc.constant('unix' as const), path: fc.stringMatching(/^[\w/. :[\]]{1,60}$/) });
    fc.assert(
      fc.property(fc.oneof(tcp, unix), (address) => {
        expect(parseAddress(formatAddress(address))).toEqual(address);
      }),
    );
  });
});
