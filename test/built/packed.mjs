/** Packed tarballs of the packages, installed into a folder outside the workspace: for tests that are strangers. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.dirname(path.dirname(path.dirname(fileURLToPath(import.meta.url))));

/** Packs packages with the pinned pnpm. @returns tarball by name. */
export function pack(names, folder) {
  const { packageManager } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'));
  const tarballs = {};
  for (const name of names) {
    const output = run('npx', ['-y', packageManager, 'pack', '--json', '--pack-destination', folder], path.join(root, 'packages', name));
    const packed = JSON.parse(output.slice(output.indexOf('{')));
    const files = run('tar', ['-tzf', packed.filename], folder)
      .split('\n')
      .map((file) => file.replace(/^package\//, ''));
    for (const wanted of ['LICENSE', 'README.md', 'package.json', name === 'cli' ? 'dist/main.js' : 'dist/index.js']) {
      assert(files.includes(wanted), `the tarball of ${name} has no ${wanted}`);
    }
    assert(
      !files.some((file) => file.endsWith('.tsbuildinfo') || file.startsWith('test/')),
      `the tarball of ${name} holds what it should not`,
    );
    tarballs[packed.name] = `file:${packed.filename}`;
  }
  return tarballs;
}

/**
 * Installs tarballs into a folder; no @tidemark/* comes from a registry, not even as a dependency of another.
 * @param manifest what package.json says beside.
 */
export function install(tarballs, folder, manifest = { private: true, type: 'module', dependencies: tarballs }) {
  const overrides = Object.fromEntries(
    Object.entries(tarballs).map(([name, file]) => [name, name in (manifest.dependencies ?? {}) ? `$${name}` : file]),
  );
  fs.writeFileSync(path.join(folder, 'package.json'), JSON.stringify({ ...manifest, overrides }));
  run('npm', ['install', '--no-audit', '--no-fund', '--loglevel=error'], folder);
}

export function run(command, args, cwd) {
  return execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], timeout: 300_000 });
}

export function say(line) {
  process.stdout.write(`${line}\n`);
}
