/**
 * isomorphic-git on `kernel.fs`, unchanged, by promises and by callbacks. The judge is git itself: it checks the repositories that
 * isomorphic-git made, and makes the one that is cloned, which it serves through `git upload-pack` in place of a web server.
 */
import { execFileSync, spawn } from 'node:child_process';
import { buffer } from 'node:stream/consumers';
import type { NodeFs } from '@tidemark/core/host';
import * as git from 'isomorphic-git';
import { expect, it } from 'vitest';
import { describeWith, programOf } from './support/peers.js';
import { freshPath } from './support/sandbox.js';
import { copyAcross, listing, onHost, withTree } from './support/trees.js';

const author = { name: 'Ada', email: 'ada@example.org', timestamp: 1_700_000_000, timezoneOffset: 0 };

/** Runs git on the host. */
function hostGit(folder: string, ...args: string[]): string {
  const identity = { GIT_AUTHOR_NAME: 'Ada', GIT_AUTHOR_EMAIL: 'ada@example.org', GIT_COMMITTER_NAME: 'Ada', GIT_COMMITTER_EMAIL: 'a@b.c' };
  const env = { ...process.env, ...identity, GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1' };
  return execFileSync(programOf('git'), ['-c', 'protocol.version=1', '-c', 'safe.directory=*', ...args], {
    cwd: folder,
    env,
    encoding: 'utf8',
  });
}

/** Only the callback forms, so that isomorphic-git uses those. */
function callbacksOf(fs: NodeFs): git.CallbackFsClient {
  const { readFile, writeFile, mkdir, rmdir, unlink, stat, lstat, readdir, readlink, symlink, rename, rm } = fs;
  return { readFile, writeFile, mkdir, rmdir, unlink, stat, lstat, readdir, readlink, symlink, rename, rm } as git.CallbackFsClient;
}

/** A web server's part, played by `git upload-pack` for one repository of the host. */
function serving(repository: string): git.HttpClient {
  return {
    async request({ url, method, body }) {
      const isListing = method !== 'POST';
      const args = ['upload-pack', '--stateless-rpc', ...(isListing ? ['--advertise-refs'] : []), repository];
      const server = spawn(programOf('git'), ['-c', 'safe.directory=*', ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
      for await (const chunk of body ?? []) server.stdin.write(chunk);
      server.stdin.end();
      const answer = await buffer(server.stdout);
      const head = isListing ? '001e# service=git-upload-pack\n0000' : '';
      const reply = (async function* () {
        yield new Uint8Array(Buffer.concat([Buffer.from(head), answer]));
      })();
      const type = `application/x-git-upload-pack-${isListing ? 'advertisement' : 'result'}`;
      return { url, method, statusCode: 200, statusMessage: 'OK', headers: { 'content-type': type }, body: reply };
    },
  };
}

describeWith(['git'], 'isomorphic-git', () => {
  it.each([
    ['promises', (fs: NodeFs) => fs as unknown as git.PromiseFsClient],
    ['callbacks', callbacksOf],
  ] as const)('init, add, commit, branch, checkout, log, status by %s: git finds nothing wrong with the repository', (_name, formOf) =>
    withTree(async (tree) => {
      const repo = { fs: formOf(tree), dir: '/repo' };
      await git.init({ ...repo, defaultBranch: 'main' });
      tree.mkdirSync('/repo/src/deep/er', { recursive: true });
      for (let i = 0; i < 40; i++) tree.writeFileSync(`/repo/src/deep/file${i}.txt`, `text ${i}\n`.repeat(i * 20));
      tree.writeFileSync('/repo/run.sh', '#!/bin/sh\n', { mode: 0o755 });
      tree.symlinkSync('src/deep/file7.txt', '/repo/link');
      await git.add({ ...repo, filepath: '.' });
      const first = await git.commit({ ...repo, message: 'first', author });

      await git.branch({ ...repo, ref: 'side', checkout: true });
      tree.writeFileSync('/repo/src/deep/file3.txt', 'changed on the side\n');
      await git.remove({ ...repo, filepath: 'src/deep/file4.txt' });
      tree.unlinkSync('/repo/src/deep/file4.txt');
      await git.add({ ...repo, filepath: 'src/deep/file3.txt' });
      const second = await git.commit({ ...repo, message: 'second', author });
      const onTheSide = listing(tree, '/repo').filter((line) => !line.startsWith('/.git'));

      await git.checkout({ ...repo, ref: 'main' });
      expect(tree.readFileSync('/repo/src/deep/file3.txt', 'utf8')).toBe('text 3\n'.repeat(60));
      expect(tree.existsSync('/repo/src/deep/file4.txt')).toBe(true);
      await git.merge({ ...repo, ours: 'main', theirs: 'side', author });
      await git.checkout({ ...repo, ref: 'main' });
      expect((await git.log(repo)).map(({ oid, commit }) => [oid, commit.message])).toEqual([
        [second, 'second\n'],
        [first, 'first\n'],
      ]);
      expect(listing(tree, '/repo').filter((line) => !line.startsWith('/.git'))).toEqual(onTheSide);

      tree.writeFileSync('/repo/new.txt', 'not added');
      tree.writeFileSync('/repo/run.sh', '#!/bin/sh\nexit 1\n');
      expect(await git.status({ ...repo, filepath: 'new.txt' })).toBe('*added');
      expect(await git.status({ ...repo, filepath: 'run.sh' })).toBe('*modified');
      expect(await git.status({ ...repo, filepath: 'src/deep/file9.txt' })).toBe('unmodified');

      const copy = freshPath('repo');
      copyAcross(tree, '/repo', onHost, copy);
      expect(hostGit(copy, 'fsck', '--full', '--strict')).toBe('');
      expect(hostGit(copy, 'log', '--format=%H %s').trim().split('\n')).toEqual([`${second} second`, `${first} first`]);
      expect(hostGit(copy, 'status', '--porcelain').trim().split('\n')).toEqual(['M run.sh', '?? new.txt']);
    }),
  );

  it('clones a repository of the host: packs, index, working tree', () =>
    withTree(async (tree) => {
      const origin = freshPath('origin');
      onHost.mkdirSync(origin);
      hostGit(origin, 'init', '-q', '-b', 'main');
      for (let commit = 0; commit < 5; commit++) {
        for (let i = 0; i < 30; i++) onHost.writeFileSync(`${origin}/f${i}`, `line ${i * commit}\n`.repeat(50 * commit + i));
        onHost.mkdirSync(`${origin}/d${commit}/e`, { recursive: true });
        onHost.writeFileSync(`${origin}/d${commit}/e/data`, Buffer.alloc(30_000 * commit, commit));
        hostGit(origin, 'add', '.');
        hostGit(origin, 'commit', '-q', '-m', `commit ${commit}`);
      }
      onHost.symlinkSync('f3', `${origin}/link`);
      hostGit(origin, 'add', '.');
      hostGit(origin, 'commit', '-q', '-m', 'link');
      hostGit(origin, 'gc', '-q');

      const repo = { fs: tree as unknown as git.PromiseFsClient, dir: '/clone' };
      await git.clone({ ...repo, http: serving(origin), url: 'http://host.example/origin' });
      const subjects = (await git.log(repo)).map(({ commit }) => commit.message.trim());
      expect(subjects).toEqual(hostGit(origin, 'log', '--format=%s').trim().split('\n'));
      const trackedIn = (fs: NodeFs, top: string): string[] => listing(fs, top).filter((line) => !line.startsWith('/.git'));
      expect(trackedIn(tree, '/clone')).toEqual(trackedIn(onHost, origin));
      const copy = freshPath('clone');
      copyAcross(tree, '/clone', onHost, copy);
      expect(hostGit(copy, 'fsck', '--full', '--strict')).toBe('');
      expect(hostGit(copy, 'status', '--porcelain')).toBe('');
    }));
});
