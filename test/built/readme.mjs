/**
 * The README's program, as a stranger would run it: cut out of README.md, run against packed tarballs in an empty folder, with a
 * server started by the packed `tidemark` command; on this Node and on Node 24. The built packages' own smoke test runs on Node 24 too.
 *
 * Needs a registry, for what is not Tidemark. Prints a line for each check; exit code 0 only if all hold.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { install, pack, root, run as runIn, say } from './packed.mjs';

/** All of them: the command needs most, and none may come from a registry. */
const PACKAGES = fs
  .readdirSync(path.join(root, 'packages'))
  .filter((name) => fs.existsSync(path.join(root, 'packages', name, 'package.json')));
const PROGRAM_LINES_MAX = 10;

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tidemark-readme-'));
try {
  const program = cutProgram(fs.readFileSync(path.join(root, 'README.md'), 'utf8'));
  fs.writeFileSync(path.join(folder, 'swap.mjs'), program);
  const tarballs = pack(PACKAGES, folder);
  say(`packed ${Object.keys(tarballs).join(', ')}`);
  install(tarballs, folder);
  // The program itself, not npx around it: npx does not pass signals on.
  const node24 = run('npx', ['-y', '-p', 'node@24', 'node', '-p', 'process.execPath']).trim();
  for (const node of [process.execPath, node24]) {
    const version = run(node, ['--version']).trim();
    const [uri, stop] = await serve(node);
    let output;
    try {
      output = run(node, ['swap.mjs', uri]);
    } finally {
      await stop();
    }
    assert.match(output, /every byte came back.*leakedFrames: 0/);
    say(`swap.mjs on Node ${version}: ${output.trim()}`);
  }
  execFileSync(node24, ['--test', path.join(root, 'test/built/smoke.mjs')], { stdio: 'inherit' });
} finally {
  fs.rmSync(folder, { recursive: true, force: true });
}

/** The fenced block that is marked title="swap.mjs". */
function cutProgram(readme) {
  const match = /^```js title="swap\.mjs"\n([\s\S]*?)^```$/m.exec(readme);
  assert(match !== null, 'README.md has no block marked js title="swap.mjs"');
  const lines = match[1].split('\n').filter((line) => line.trim() !== '');
  assert(lines.length <= PROGRAM_LINES_MAX, `the program has ${lines.length} lines, at most ${PROGRAM_LINES_MAX}`);
  return match[1];
}

/** Starts the packed server on a free port. @returns the export's URI, and what stops it and checks that it ended well. */
async function serve(node) {
  const bin = path.join(folder, 'node_modules/@tidemark/cli/bin/tidemark.js');
  const words = ['serve', 'nbd', 'mem:256MiB', '--export', 'swap', '--listen', '127.0.0.1:0', '--json'];
  const server = spawn(node, [bin, ...words], { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(server, 'exit');
  const line = await Promise.race([once(createInterface(server.stdout), 'line').then(([text]) => text), exited.then(() => null)]);
  assert(line !== null, 'the packed server did not start');
  const stop = async () => {
    server.kill('SIGTERM');
    const [code] = await exited;
    assert.equal(code, 0, 'the server did not end well');
  };
  return [JSON.parse(line).listening, stop];
}

function run(command, args) {
  return runIn(command, args, folder);
}
