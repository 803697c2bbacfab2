import { describe, expect, it } from 'vitest';
import { mountWords } from '../src/mount-command.js';

describe('the options of mount', () => {
  it('are ours or those of mount(8)', () => {
    const none = { readOnly: false, writebackCache: false, options: [] };
    expect(mountWords([])).toEqual(none);
    expect(mountWords(['ro', 'noatime', 'entry_timeout=0', 'attr_timeout=7', 'writeback_cache', 'context=a=b'])).toEqual({
      readOnly: true,
      writebackCache: true,
      entrySeconds: 0,
      attributeSeconds: 7,
      options: ['noatime', 'context=a=b'],
    });
    expect(mountWords(['ro', 'rw'])).toEqual(none);
  });

  it.each(['entry_timeout', 'entry_timeout=-1', 'attr_timeout=1s', 'fd=5', 'max_read=1', 'default_permissions'])(
    '%s is refused',
    (word) => {
      expect(() => mountWords([word])).toThrow(word);
    },
  );
});
