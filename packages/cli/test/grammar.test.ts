import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { choiceOption, countOption, namedDevices, sizeOption } from '../src/grammar.js';
import { UsageError } from '../src/outcome.js';

const parseMemory = (word: string) => sizeOption('--memory', 'memory', 2 ** 23).parseArg?.(word, undefined);

describe('SIZE', () => {
  it.each([
    ['4096', 4096],
    ['8MiB', 8 * 2 ** 20],
    ['8M', 8 * 2 ** 20],
    ['1G', 2 ** 30],
    ['2TiB', 2 ** 41],
  ])('%s', (word, bytes) => expect(parseMemory(word)).toBe(bytes));

  it.each(['', '0', '-1', '1.5MiB', '8 MB', '8MB', 'MiB', '0x10', '1e6', '9999999TiB'])('refuses %j, naming option and word', (word) => {
    expect(() => parseMemory(word)).toThrow(
      expect.objectContaining({ code: 'EINVAL', message: expect.stringContaining(`--memory ${JSON.stringify(word)}`) }),
    );
  });
});

describe('counts and choices', () => {
  it('takes whole numbers up to the limit', () => {
    fc.assert(fc.property(fc.nat(), (n) => countOption('--seed', 2 ** 32 - 1)(String(n)) === n));
    expect(countOption('--seed', 7)('7')).toBe(7);
  });
  it.each(['', '8', '-1', '1.5', 'x', '1e1', ' 1', '99999999999999999999'])('refuses %j', (word) => {
    expect(() => countOption('--seed', 7)(word)).toThrow(UsageError);
  });
  it('names what exists', () => {
    expect(choiceOption('--stack', ['nbd'])('nbd')).toBe('nbd');
    expect(() => choiceOption('--stack', ['nbd'])('ext3')).toThrow('--stack "ext3" does not exist; there is nbd');
  });
});

describe('[NAME=]DEVICE', () => {
  it.each([
    ['disk.img', '', 'disk.img'],
    ['a=disk.img', 'a', 'disk.img'],
    ['a=mem:1GiB', 'a', 'mem:1GiB'],
    ['nbd+unix:///x?socket=/y', '', 'nbd+unix:///x?socket=/y'],
    ['a=nbd+unix:///x?socket=/y', 'a', 'nbd+unix:///x?socket=/y'],
    ['file:/tmp/a=b', '', 'file:/tmp/a=b'],
    ['./a=b', '', './a=b'],
    ['/a=b', '', '/a=b'],
    ['a=b=c', 'a', 'b=c'],
    ['=x', '', '=x'],
  ])('%s', (word, name, device) => expect(namedDevices([word], '')).toEqual([{ name, device }]));

  it('gives the default name to the one without', () => {
    expect(namedDevices(['x.img', 'b=y.img'], 'scratch')).toEqual([
      { name: 'scratch', device: 'x.img' },
      { name: 'b', device: 'y.img' },
    ]);
  });

  it('reads back any name without : / =, whatever the device', () => {
    const name = fc.string({ minLength: 1 }).filter((text) => !/[:/=]/.test(text));
    fc.assert(
      fc.property(name, fc.string({ minLength: 1 }), (n, d) => {
        expect(namedDevices([`${n}=${d}`], '')).toEqual([{ name: n, device: d }]);
      }),
    );
  });

  it.each([[['']], [['a=']], [['a=x', 'a=y']], [['x', 'y']], [['x', 'scratch=y']]])('refuses %j', (words) => {
    expect(() => namedDevices(words, 'scratch')).toThrow(UsageError);
  });
});
