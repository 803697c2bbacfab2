/**
 * What a Node that has `node:vfs` does with a tree of a kernel that is mounted into it: the same calls of Node's own `fs` are made below the
 * mount and in a folder of the host, and both answers are printed, as one line of JSON. Run by ../node-vfs.test.ts.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createRequire } from 'node:module';
import { Kernel } from '@tidemark/core';
import { host, mountInNode } from '@tidemark/core/host';
import { memfs } from '@tidemark/testkit';

const CALLS = {
  async whole(at) {
    fs.writeFileSync(`${at}/a`, 'one');
    fs.appendFileSync(`${at}/a`, ' two');
    await fs.promises.writeFile(`${at}/b`, Buffer.alloc(100_000, 7));
    return [fs.readFileSync(`${at}/a`, 'utf8'), (await fs.promises.readFile(`${at}/b`)).length, fs.statSync(`${at}/b`).size];
  },
  async directories(at) {
    fs.mkdirSync(`${at}/d/e`, { recursive: true });
    fs.writeFileSync(`${at}/d/e/f`, '');
    const typed = fs.readdirSync(`${at}/d`, { withFileTypes: true }).map((entry) => [entry.name, entry.isDirectory()]);
    const deep = fs
      .readdirSync(`${at}/d`, { withFileTypes: true, recursive: true })
      .map(({ name, parentPath }) => `${parentPath.slice(at.length)} ${name}`);
    const names = (await fs.promises.readdir(`${at}/d`, { recursive: true })).sort();
    fs.rmSync(`${at}/d`, { recursive: true });
    return [typed, deep.sort(), names, fs.existsSync(`${at}/d`)];
  },
  async descriptors(at) {
    const fd = fs.openSync(`${at}/a`, 'w+', 0o640);
    fs.writeSync(fd, 'hello world');
    fs.ftruncateSync(fd, 8);
    const bytes = Buffer.alloc(5);
    const got = fs.readSync(fd, bytes, 0, 5, 3);
    const { size, mode } = fs.fstatSync(fd);
    fs.fsyncSync(fd);
    fs.closeSync(fd);
    const handle = await fs.promises.open(`${at}/a`, 'r+');
    await handle.write('HE', 0);
    const text = await handle.readFile('utf8');
    await handle.close();
    return [got, bytes.toString(), size, mode, text];
  },
  async links(at) {
    fs.writeFileSync(`${at}/a`, 'x');
    fs.symlinkSync('a', `${at}/soft`);
    fs.linkSync(`${at}/a`, `${at}/hard`);
    fs.renameSync(`${at}/hard`, `${at}/moved`);
    fs.chmodSync(`${at}/moved`, 0o600);
    fs.utimesSync(`${at}/moved`, 1000, 2000);
    const { nlink, mode, mtimeMs } = fs.statSync(`${at}/a`);
    const kinds = [fs.lstatSync(`${at}/soft`).isSymbolicLink(), fs.readlinkSync(`${at}/soft`)];
    return [nlink, mode, mtimeMs, kinds, fs.realpathSync(`${at}/soft`).slice(at.length), await fs.promises.readFile(`${at}/soft`, 'utf8')];
  },
  async errors(at) {
    const codes = [];
    for (const call of [
      () => fs.readFileSync(`${at}/none`),
      () => fs.mkdirSync(at),
      () => fs.rmdirSync(`${at}/full`),
      () => fs.readdirSync(`${at}/full/f`),
      () => fs.unlinkSync(`${at}/full`),
      () => fs.openSync(`${at}/full/f`, 'wx'),
    ]) {
      fs.mkdirSync(`${at}/full`, { recursive: true });
      fs.writeFileSync(`${at}/full/f`, '');
      try {
        call();
        codes.push('done');
      } catch (error) {
        codes.push(error.code);
      }
    }
    return codes;
  },
  async streams(at) {
    await new Promise((resolve, reject) => {
      const out = fs.createWriteStream(`${at}/s`);
      out.on('error', reject).on('close', resolve);
      // One after the other: while anything is mounted, Node 26.10 fails for several at once to a file of the host (h.writev is not a function).
      const write = (left) => (left > 0 ? out.write('0123456789'.repeat(100), () => write(left - 1)) : out.end());
      write(50);
    });
    let bytes = 0;
    for await (const chunk of fs.createReadStream(`${at}/s`)) bytes += chunk.length;
    return bytes;
  },
  async modules(at) {
    fs.mkdirSync(`${at}/lib`);
    fs.writeFileSync(`${at}/lib/part.mjs`, 'export const part = 20;');
    fs.writeFileSync(`${at}/main.mjs`, "import { part } from './lib/part.mjs'; export const answer = part + 22;");
    fs.writeFileSync(`${at}/old.cjs`, 'exports.answer = 43;');
    return [(await import(`${at}/main.mjs`)).answer, createRequire(`${at}/x.js`)('./old.cjs').answer];
  },
};

const kernel = await Kernel.boot({ memory: '16MiB', plugins: [host, memfs] });
await kernel.mount('memfs:8MiB', '/');
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tidemark-node-vfs-'));
process.umask(0o022);
const mounted = mountInNode(kernel.fs);
const answers = {};
for (const [name, call] of Object.entries(CALLS)) {
  const told = [];
  for (const top of [folder, mounted.mountPoint]) {
    fs.mkdirSync(`${top}/${name}`);
    told.push(await call(`${top}/${name}`).catch((error) => `${error.stack}`));
  }
  answers[name] = { host: told[0], ours: told[1] };
}
const inTree = kernel.fs.readdirSync('/').sort();
mounted.unmount();
mounted.unmount();
const isGone = !fs.existsSync(`${mounted.mountPoint}/whole`);
fs.rmSync(folder, { recursive: true });
console.log(JSON.stringify({ answers, inTree, isGone, shutdown: await kernel.shutdown() }));
