/**
 * Loads a CommonJS package on another filesystem: a fresh copy of it, and of all that it loads, for which `require('fs')` is the one given.
 * For software that takes no `fs` as an argument.
 */
import Module, { createRequire } from 'node:module';
import type { NodeFs } from '@tidemark/core/host';

type Load = (request: string, parent: unknown, isMain: boolean) => unknown;
const loader = Module as unknown as { _load: Load };

export function loadOn<T>(fs: NodeFs, name: string): T {
  const require = createRequire(import.meta.url);
  const original = loader._load;
  const before = new Map(Object.entries(require.cache));
  for (const file of before.keys()) delete require.cache[file];
  loader._load = (request, parent, isMain) => {
    const wanted = request.replace(/^node:/, '');
    if (wanted === 'fs') return fs;
    if (wanted === 'fs/promises') return fs.promises;
    return original(request, parent, isMain);
  };
  try {
    return require(name) as T;
  } finally {
    loader._load = original;
    for (const file of Object.keys(require.cache)) delete require.cache[file];
    for (const [file, module] of before) require.cache[file] = module;
  }
}
