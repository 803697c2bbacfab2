/**
 * What a test file of `@zenfs/core` is given to test: `kernel.fs` over memfs, with the files that the tests expect. Loaded by that package's
 * `tests/common.ts`, in a process of its own for each test file; see ../zenfs.test.ts.
 */
import * as host from 'node:fs';
import path from 'node:path';
import { Kernel } from '@tidemark/core';
import { host as hostPlugin } from '@tidemark/core/host';
import { memfs } from '@tidemark/testkit';

// The tests are written for newer Nodes.
Promise.withResolvers ??= function withResolvers() {
  const parts = {};
  parts.promise = new this((resolve, reject) => Object.assign(parts, { resolve, reject }));
  return parts;
};

Error.isError ??= (value) => value instanceof Error;

const kernel = await Kernel.boot({ memory: '64MiB', plugins: [hostPlugin, memfs] });
await kernel.mount('memfs:32MiB', '/');
const data = path.join(import.meta.dirname, '../../node_modules/@zenfs/core/tests/data');
for (const name of host.readdirSync(data)) kernel.fs.writeFileSync(`/${name}`, host.readFileSync(path.join(data, name)));

/** Modes are taken as they are given, as the tests expect. */
export const fs = kernel.fs.as({ umask: 0 });
// `using watcher`, which no Node has yet; the package's own set-up for `node:fs` adds it too.
const { watch } = fs;
fs.watch = (...args) => {
  const watcher = watch(...args);
  watcher[Symbol.dispose] = () => watcher.close();
  return watcher;
};
export const { Stats } = fs;
/** What these tests can leave out: `lchmod` is there on macOS only; the others are ZenFS's own, not Node's. */
export const flags = { lchmod: false, xattr: false, 'promises.exists': false, root: true };
