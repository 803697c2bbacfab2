/**
 * What `npm run demo|test|build|bench|docs|lint|interop|mutants|readme` does: install if the manifests or Node changed, build what changed,
 * run the task. Needs Node, npm and a registry; nothing else is assumed, no global pnpm either. Uses only `node:` modules.
 *
 *     npm run demo -- --working-set 1GiB      arguments after -- go to the task
 *     npm test -- packages/swap               only the unit tests whose path holds that text
 *
 * Installing and building write to stderr, so that stdout is the task's alone. The exit code is the task's; 128 + n if signal n
 * ended it; 2 for a task that does not exist or a Node that is too old.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const modules = path.join(root, 'node_modules');
const stampFile = path.join(modules, '.tidemark-installed');
const foldersIn = (folder) => fs.readdirSync(path.join(root, folder)).map((name) => `${folder}/${name}`);
const packages = foldersIn('packages');
const examples = foldersIn('examples');
const publishable = () => packages.filter((folder) => fs.existsSync(path.join(root, folder, 'package.json')));

/** `build`: what `tsc -b` is given. `steps`: commands, each of them `node` with arguments, run in turn until one fails. */
const TASKS = {
  demo: { build: 'packages/cli', steps: (args) => [['packages/cli/bin/tidemark.js', 'demo', ...args]] },
  test: {
    build: '.',
    steps: (args) => [
      [bin('vitest'), 'run', '--project', 'unit', ...args],
      ...(args.length > 0 ? [] : [['--test', 'test/built/smoke.mjs']]),
    ],
  },
  build: { build: '.', steps: () => [] },
  bench: { build: '.', steps: (args) => [['--expose-gc', 'bench/dist/main.js', ...args]] },
  docs: { build: 'packages/cli', steps: (args) => [['scripts/documented.mjs'], [bin('typedoc'), ...args]] },
  lint: {
    build: '.',
    steps: (args) => [
      [bin('@biomejs/biome'), 'check', ...args],
      ...publishable().map((folder) => [bin('publint'), '--strict', '--pack', 'npm', folder]),
      ...publishable().map((folder) => [
        bin('@arethetypeswrong/cli', 'attw'),
        '--pack',
        folder,
        '--profile',
        'esm-only',
        '--format',
        'ascii',
      ]),
    ],
  },
  interop: { build: '.', steps: (args) => [[bin('vitest'), 'run', '--project', 'interop', ...args]] },
  mutants: { build: '.', steps: (args) => [[bin('vitest'), 'run', '--project', 'mutants', ...args]] },
  readme: { build: 'packages/cli', steps: (args) => [['test/built/readme.mjs', ...args], ['test/built/template.mjs']] },
};

const [task, ...args] = process.argv.slice(2);
if (!Object.hasOwn(TASKS, task ?? ''))
  stop(2, `run.mjs: no task ${JSON.stringify(task ?? '')}; there are ${Object.keys(TASKS).join(', ')}`);
const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19)) stop(2, `Tidemark needs Node 20.19 or later; this is ${process.version}`);

await install();
await run(process.execPath, [bin('typescript', 'tsc'), '-b', TASKS[task].build], { cwd: root, stdout: 2 });
for (const step of TASKS[task].steps(args)) {
  // The demo's paths are the user's: npm says in INIT_CWD where it was called. Everything else runs at the root.
  const asUser = task === 'demo';
  const command = asUser ? [path.join(root, step[0]), ...step.slice(1)] : step;
  await run(process.execPath, command, { cwd: asUser ? (process.env.INIT_CWD ?? process.cwd()) : root, stdout: 1 });
}

/** Installs with the pinned pnpm unless what is installed came from these manifests and this Node. */
async function install() {
  const stamp = stampOf();
  if (fs.existsSync(stampFile) && fs.readFileSync(stampFile, 'utf8') === stamp) return;
  const { packageManager } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'));
  const flags = ['install', '--frozen-lockfile', '--config.confirmModulesPurge=false'];
  await run('npx', ['-y', packageManager, ...flags], { cwd: root, stdout: 2 });
  fs.writeFileSync(stampFile, stamp);
}

function stampOf() {
  const hash = createHash('sha256').update(process.version);
  const manifests = ['.', 'bench', 'interop', ...packages, ...examples].map((folder) => `${folder}/package.json`);
  for (const file of ['pnpm-lock.yaml', 'pnpm-workspace.yaml', ...manifests.sort()]) {
    const at = path.join(root, file);
    if (fs.existsSync(at)) hash.update(`\0${file}\0`).update(fs.readFileSync(at));
  }
  return hash.digest('hex');
}

/** The script behind a package's command. */
function bin(name, command = path.basename(name)) {
  const folder = path.join(modules, name);
  const entry = JSON.parse(fs.readFileSync(path.join(folder, 'package.json'), 'utf8')).bin;
  return path.join(folder, typeof entry === 'string' ? entry : entry[command]);
}

/** Runs a command; comes back only if it succeeded, else ends this process the same way. Signals are passed on (a terminal does that itself). */
async function run(command, argv, { cwd, stdout }) {
  const child = spawn(command, argv, { cwd, stdio: ['inherit', stdout, 2] });
  const forward = (signal) => {
    if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
  };
  const signals = ['SIGTERM', 'SIGINT', 'SIGHUP'];
  for (const signal of signals) process.on(signal, forward);
  const [code, signal] = await new Promise((resolve) => {
    child.once('error', (error) => stop(1, `run.mjs: cannot start ${command}: ${error.message}`));
    child.once('close', (...ended) => resolve(ended));
  });
  for (const signal of signals) process.off(signal, forward);
  if (signal !== null) process.exit(128 + os.constants.signals[signal]);
  if (code !== 0) process.exit(code);
}

function stop(code, line) {
  console.error(line);
  process.exit(code);
}
