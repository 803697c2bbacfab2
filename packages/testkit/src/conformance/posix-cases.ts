/** Cases about names, contents and attributes, one operation after the other. */
import { AllocateMode, FileType, OpenFlag, PAGE_SIZE, RenameFlag } from '@tidemark/core';
import type { CaseList } from './case.js';
import { fails, must, pattern, same, sameBytes } from './expect.js';
import type { Files } from './files.js';
import type { Stage, Theatre } from './stage.js';

const TEXT = pattern(100, 1);

/** Adds the cases of a filesystem that can be changed. */
export function addPosixCases(list: CaseList, theatre: Theatre, seed: number): void {
  const { supports } = theatre.subject;
  const add = (rule: Parameters<CaseList['add']>[0], what: string, play: (files: Files, stage: Stage) => Promise<void>): void =>
    list.add(rule, what, () => theatre.run({ seed }, (stage) => play(stage.files, stage)));
  addContentCases(add);
  addNameCases(add);
  addAttributeCases(add);
  if (supports.hardLinks) addLinkCases(add);
  if (supports.symlinks)
    add('links-lead-where-they-were-told', 'short, long and dangling targets', async (files) => {
      for (const [i, target] of ['a', 'no/where/../at all', 'é'.repeat(40), 't'.repeat(500)].entries()) {
        await files.symlink(target, `/link${i}`);
        same(await files.readlink(`/link${i}`), target, 'target');
        same((await files.stat(`/link${i}`)).type, FileType.SYMLINK, 'type');
      }
    });
  if (supports.specialFiles)
    add('attributes-last', 'types and numbers of special files', async (files, stage) => {
      const made = [
        ['/fifo', FileType.FIFO, 0],
        ['/socket', FileType.SOCKET, 0],
        ['/block', FileType.BLOCK_DEVICE, 7 * 2 ** 20 + 3],
        ['/character', FileType.CHARACTER_DEVICE, 2 ** 20 + 255],
      ] as const;
      for (const [path, type, rdev] of made) await files.mknod(path, type, rdev);
      if (supports.persistent) await remount(stage);
      for (const [path, type, rdev] of made) {
        const facts = await files.stat(path);
        same([facts.type, facts.rdev], [type, rdev], path);
      }
    });
  if (supports.xattrs) addXattrCases(add);
  if (supports.punch) addPunchCases(add, supports.seekHoles === true);
}

/** Unmounts and mounts again. */
export async function remount({ kernel, mount }: Pick<Stage, 'kernel' | 'mount'>): Promise<void> {
  await kernel.unmount('/');
  await mount();
}

type Add = (rule: Parameters<CaseList['add']>[0], what: string, play: (files: Files, stage: Stage) => Promise<void>) => void;

function addContentCases(add: Add): void {
  add('reads-what-was-written', 'whole pages, parts of pages, over old bytes, and beyond the end', async (files) => {
    const model = new Uint8Array(5 * PAGE_SIZE + 77);
    await files.create('/f');
    let sizeBytes = 0;
    const ranges = [
      [0, 100],
      [50, 10],
      [PAGE_SIZE - 3, 6],
      [2 * PAGE_SIZE, PAGE_SIZE],
      [PAGE_SIZE, 3 * PAGE_SIZE],
      [4 * PAGE_SIZE + 9, PAGE_SIZE + 68],
    ];
    for (const [i, [at, length]] of ranges.entries()) {
      const bytes = pattern(length, i, at);
      await files.write('/f', at, bytes);
      model.set(bytes, at);
      sizeBytes = Math.max(sizeBytes, at + length);
      same((await files.stat('/f')).sizeBytes, sizeBytes, 'size');
      sameBytes(await files.readAll('/f'), model.subarray(0, sizeBytes), `content after write ${i}`);
    }
    sameBytes(await files.read('/f', sizeBytes - 5, 100), model.subarray(sizeBytes - 5), 'read over the end');
    same((await files.read('/f', sizeBytes + 1, 10)).length, 0, 'bytes behind the end');
    await files.append('/f', TEXT);
    sameBytes(await files.read('/f', sizeBytes, 200), TEXT, 'appended');
  });
  add('truncation-forgets', 'to the middle of a page and up again', async (files) => {
    await files.write('/f', 0, pattern(3 * PAGE_SIZE, 2));
    await files.truncate('/f', PAGE_SIZE + 10);
    same((await files.stat('/f')).sizeBytes, PAGE_SIZE + 10, 'size');
    await files.truncate('/f', 4 * PAGE_SIZE);
    const expected = new Uint8Array(4 * PAGE_SIZE);
    expected.set(pattern(PAGE_SIZE + 10, 2));
    sameBytes(await files.readAll('/f'), expected, 'content');
    await files.truncate('/f', 0);
    await files.write('/f', PAGE_SIZE, TEXT);
    sameBytes(await files.read('/f', 0, PAGE_SIZE), new Uint8Array(PAGE_SIZE), 'first page, never written since');
  });
  add('holes-read-as-zeroes', 'far behind the end', async (files) => {
    const far = 200 * PAGE_SIZE + 5;
    await files.write('/f', far, TEXT);
    same((await files.stat('/f')).sizeBytes, far + TEXT.length, 'size');
    for (const at of [0, PAGE_SIZE * 7 + 3, far - PAGE_SIZE])
      sameBytes(await files.read('/f', at, 1000), new Uint8Array(1000), `hole at ${at}`);
    sameBytes(await files.read('/f', far, 200), TEXT, 'data behind the hole');
  });
  add('unlinked-files-live-while-open', 'with content, and their room comes back', async (files) => {
    await files.create('/first'); // what directories take themselves
    await files.sync();
    const before = (await files.room()).freeBytes;
    const bytes = pattern(10 * PAGE_SIZE, 3);
    await files.write('/gone', 0, bytes);
    const file = await files.open('/gone');
    await files.sync();
    await files.unlink('/gone');
    await fails(() => files.stat('/gone'), ['ENOENT'], 'stat');
    same(file.inode.nlink, 0, 'nlink');
    sameBytes(await files.readFrom(file, 0, bytes.length), bytes, 'content without a name');
    await files.writeTo(file, 5, TEXT);
    sameBytes(await files.readFrom(file, 5, TEXT.length), TEXT, 'written without a name');
    file.release();
    await files.settle();
    await files.sync();
    const after = (await files.room()).freeBytes;
    must(after >= before - 4 * PAGE_SIZE, `free room was ${before} before and is ${after} after`);
  });
  add('room-adds-up', 'files take room and give it back', async (files) => {
    await files.create('/first');
    await files.sync();
    const before = await files.room();
    must(before.totalBytes > 0 && before.freeBytes <= before.totalBytes, `${before.freeBytes} free of ${before.totalBytes} bytes`);
    must(before.availableBytes <= before.freeBytes, `${before.availableBytes} available of ${before.freeBytes} free bytes`);
    must(before.freeInodes <= before.totalInodes, `${before.freeInodes} free of ${before.totalInodes} inodes`);
    await files.write('/f', 0, pattern(20 * PAGE_SIZE, 4));
    await files.sync();
    const during = await files.room();
    must(before.freeBytes - during.freeBytes >= 20 * PAGE_SIZE, `20 pages took ${before.freeBytes - during.freeBytes} bytes of room`);
    must((await files.stat('/f')).blocksBytes >= 20 * PAGE_SIZE, 'blocksBytes is less than what was written');
    await files.unlink('/f');
    await files.settle();
    await files.sync();
    must((await files.room()).freeBytes >= before.freeBytes - 4 * PAGE_SIZE, 'the room of a removed file did not come back');
  });
  add('limits-are-answered', 'the largest offset, the longest name', async (files) => {
    await files.create('/f');
    const file = await files.open('/f');
    const most = file.inode.superblock.maxFileSizeBytes;
    await fails(() => files.writeTo(file, most, TEXT), ['EFBIG', 'ENOSPC'], 'write at the largest size');
    await fails(() => files.truncate('/f', most + 1), ['EFBIG'], 'truncate beyond the largest size');
    file.release();
    same((await files.stat('/f')).sizeBytes, 0, 'size afterwards');
    await files.create(`/${'n'.repeat(255)}`);
    await fails(() => files.create(`/${'n'.repeat(256)}`), ['ENAMETOOLONG'], 'a name of 256 bytes');
    same(await files.readdir('/'), ['f', 'n'.repeat(255)], 'names');
  });
}

function addNameCases(add: Add): void {
  add('names-lead-to-files', 'made, looked up, listed, removed', async (files) => {
    const names = ['a', 'b b', 'é', '.hidden', 'x'.repeat(200)].sort();
    for (const name of names) await files.write(`/${name}`, 0, pattern(20, name.length));
    same(await files.readdir('/'), names, 'names');
    for (const name of names) {
      sameBytes(await files.readAll(`/${name}`), pattern(20, name.length), name);
      await fails(() => files.create(`/${name}`), ['EEXIST'], 'make what is there');
    }
    for (const name of names) await files.unlink(`/${name}`);
    same(await files.readdir('/'), [], 'names after removal');
    for (const name of names) await fails(() => files.stat(`/${name}`), ['ENOENT'], 'stat');
  });
  add('names-lead-to-files', 'trees of directories, and what is no directory', async (files) => {
    await files.mkdir('/d');
    await files.mkdir('/d/e');
    await files.write('/d/e/f', 0, TEXT);
    same(
      await files.list(),
      ['/d directory', '/d/e directory', `/d/e/f ${(await files.list('/d/e'))[0].split(' ').slice(1).join(' ')}`],
      'tree',
    );
    await fails(() => files.stat('/d/e/f/g'), ['ENOTDIR'], 'below a file');
    await fails(() => files.unlink('/d/e'), ['EISDIR', 'EPERM'], 'unlink a directory');
    await fails(() => files.rmdir('/d/e/f'), ['ENOTDIR'], 'rmdir a file');
  });
  add('directories-are-removed-empty', 'rmdir and rename onto one with entries', async (files) => {
    await files.mkdir('/full');
    await files.write('/full/f', 0, TEXT);
    await files.mkdir('/other');
    await fails(() => files.rmdir('/full'), ['ENOTEMPTY'], 'rmdir');
    await fails(() => files.rename('/other', '/full'), ['ENOTEMPTY', 'EEXIST'], 'rename onto it');
    same(await files.readdir('/'), ['full', 'other'], 'names');
    sameBytes(await files.readAll('/full/f'), TEXT, 'content');
    await files.unlink('/full/f');
    await files.rename('/other', '/full');
    await files.rmdir('/full');
    same(await files.readdir('/'), [], 'names');
  });
  add('rename-replaces-in-one-step', 'within a directory, between two, over what is there', async (files) => {
    await files.mkdir('/d');
    await files.write('/a', 0, pattern(30, 1));
    await files.write('/d/b', 0, pattern(40, 2));
    await files.rename('/a', '/c');
    await fails(() => files.stat('/a'), ['ENOENT'], 'the old name');
    await files.rename('/c', '/d/b');
    sameBytes(await files.readAll('/d/b'), pattern(30, 1), 'content behind the new name');
    same(await files.list(), ['/d directory', (await files.list('/d'))[0]], 'tree');
    same((await files.stat('/d/b')).nlink, 1, 'nlink');
    await files.mkdir('/sub');
    await files.rename('/sub', '/d/sub');
    await files.write('/d/sub/x', 0, TEXT);
    await files.rename('/d/sub', '/sub');
    sameBytes(await files.readAll('/sub/x'), TEXT, 'content in a moved directory');
    await fails(() => files.rename('/sub', '/sub/below'), ['EINVAL'], 'into itself');
    await files.rename('/d/b', '/d/b');
    sameBytes(await files.readAll('/d/b'), pattern(30, 1), 'content after a rename onto itself');
  });
  add('cookies-stay-good', 'while entries are removed and made between two batches', async (files) => {
    await files.mkdir('/d');
    const names = Array.from({ length: 60 }, (_, i) => `entry-${i}`);
    for (const name of names) await files.create(`/d/${name}`);
    const met: string[] = [];
    let nr = 0;
    for (let cookie = 0; ; ) {
      const entries = await files.readSome('/d', cookie, 7);
      for (const { name } of entries) met.push(name);
      if (entries.length < 7) break;
      cookie = entries[6].cookie;
      must(Number.isSafeInteger(cookie) && cookie > 0, `cookie ${cookie}`);
      await files.unlink(`/d/${names[nr]}`); // some were met, some were not
      await files.create(`/d/late-${nr++}`);
    }
    for (const name of names.slice(nr)) same(met.filter((other) => other === name).length, 1, `times ${name} was met`);
    same(new Set(met).size, met.length, 'different names met');
  });
  add('links-are-counted', 'of directories', async (files) => {
    await files.mkdir('/d');
    const root = (await files.stat('/')).nlink;
    same((await files.stat('/d')).nlink, 2, 'nlink of an empty directory');
    await files.mkdir('/d/1');
    await files.mkdir('/d/2');
    await files.create('/d/f');
    same((await files.stat('/d')).nlink, 4, 'nlink with two subdirectories');
    await files.rename('/d/1', '/1');
    same([(await files.stat('/d')).nlink, (await files.stat('/')).nlink], [3, root + 1], 'nlink after a move');
    await files.rmdir('/d/2');
    await files.rmdir('/1');
    same([(await files.stat('/d')).nlink, (await files.stat('/')).nlink], [2, root], 'nlink after removal');
  });
}

function addAttributeCases(add: Add): void {
  add('attributes-last', 'mode, owner and times', async (files, stage) => {
    await files.write('/f', 0, TEXT);
    await files.chmod('/f', 0o640);
    await files.chown('/f', 1000, 2000);
    await files.utimes('/f', 1_000_000_000_000, 1_234_567_890_000);
    await files.mkdir('/d', 0o1777);
    await files.chmod('/d', 0o1777);
    if (stage.device !== null) await remount(stage);
    const { mode, uid, gid, accessedMs, modifiedMs, sizeBytes, type } = await files.stat('/f');
    same([mode, uid, gid, sizeBytes, type], [0o640, 1000, 2000, TEXT.length, FileType.REGULAR], 'mode, owner, size, type');
    same([accessedMs, modifiedMs], [1_000_000_000_000, 1_234_567_890_000], 'times');
    same((await files.stat('/d')).mode, 0o1777, 'mode of a directory');
  });
}

function addLinkCases(add: Add): void {
  add('links-are-counted', 'names of one file', async (files) => {
    await files.mkdir('/d');
    await files.write('/a', 0, TEXT);
    await files.link('/a', '/d/b');
    same([(await files.stat('/a')).nlink, (await files.stat('/a')).ino], [2, (await files.stat('/d/b')).ino], 'nlink and number');
    await files.write('/d/b', 5, pattern(10, 9));
    sameBytes(await files.read('/a', 5, 10), pattern(10, 9), 'written through the other name');
    await fails(() => files.link('/d', '/e'), ['EPERM'], 'link to a directory');
    await files.unlink('/a');
    same((await files.stat('/d/b')).nlink, 1, 'nlink');
    await files.rename('/d/b', '/a');
    sameBytes(await files.read('/a', 5, 10), pattern(10, 9), 'content');
  });
}

function addXattrCases(add: Add): void {
  add('extended-attributes-last', 'set, replace, list, remove', async (files, stage) => {
    await files.create('/f');
    await files.setXattr('/f', 'user.one', pattern(10, 1));
    await files.setXattr('/f', 'user.two', new Uint8Array(0));
    await files.setXattr('/f', 'user.one', pattern(300, 2), 'replace');
    await fails(() => files.setXattr('/f', 'user.one', TEXT, 'create'), ['EEXIST'], 'create what is there');
    await fails(() => files.setXattr('/f', 'user.none', TEXT, 'replace'), ['ENODATA'], 'replace what is not there');
    if (stage.device !== null) await remount(stage);
    same(await files.listXattrs('/f'), ['user.one', 'user.two'], 'names');
    sameBytes(await files.getXattr('/f', 'user.one'), pattern(300, 2), 'value');
    await files.removeXattr('/f', 'user.one');
    await fails(() => files.getXattr('/f', 'user.one'), ['ENODATA'], 'get what was removed');
    await fails(() => files.removeXattr('/f', 'user.one'), ['ENODATA'], 'remove what was removed');
  });
}

function addPunchCases(add: Add, seekHoles: boolean): void {
  add('holes-read-as-zeroes', 'punched out of the middle', async (files) => {
    const bytes = pattern(8 * PAGE_SIZE, 5);
    await files.write('/f', 0, bytes);
    await files.sync();
    const from = PAGE_SIZE + 100;
    const length = 3 * PAGE_SIZE;
    await files.allocate('/f', AllocateMode.PUNCH_HOLE, from, length);
    bytes.fill(0, from, from + length);
    sameBytes(await files.readAll('/f'), bytes, 'content');
    same((await files.stat('/f')).sizeBytes, bytes.length, 'size');
    await files.write('/f', from + PAGE_SIZE, TEXT);
    bytes.set(TEXT, from + PAGE_SIZE);
    sameBytes(await files.readAll('/f'), bytes, 'content after writing into the hole');
  });
  if (!seekHoles) return;
  add('holes-read-as-zeroes', 'and seek tells where they are', async (files) => {
    await files.write('/f', 8 * PAGE_SIZE, pattern(PAGE_SIZE, 1));
    await files.truncate('/f', 16 * PAGE_SIZE);
    same(await files.seek('/f', 0, true), 8 * PAGE_SIZE, 'first data');
    same(await files.seek('/f', 8 * PAGE_SIZE, false), 9 * PAGE_SIZE, 'first hole behind them');
    await fails(() => files.seek('/f', 9 * PAGE_SIZE, true), ['ENXIO'], 'data where only a hole follows');
  });
}

/** Adds the cases about what is not claimed. */
export function addRefusalCases(list: CaseList, theatre: Theatre, seed: number): void {
  const { supports } = theatre.subject;
  const refused = (what: string, codes: readonly string[], work: (files: Files) => Promise<unknown>): void =>
    list.add('unclaimed-features-are-refused', what, () =>
      theatre.run({ seed }, async ({ files }) => {
        await files.write('/f', 0, TEXT);
        await files.write('/g', 0, pattern(10, 2));
        await fails(() => work(files), codes, what);
        same(await files.readdir('/'), ['f', 'g'], 'names afterwards');
        sameBytes(await files.readAll('/f'), TEXT, 'content afterwards');
      }),
    );
  const no = ['EOPNOTSUPP', 'EPERM'];
  if (!supports.hardLinks) refused('hard links', [...no, 'EMLINK'], (files) => files.link('/f', '/h'));
  if (!supports.symlinks) refused('symbolic links', no, (files) => files.symlink('f', '/h'));
  if (!supports.specialFiles) refused('special files', no, (files) => files.mknod('/h', FileType.FIFO, 0));
  if (!supports.xattrs) refused('extended attributes', no, (files) => files.setXattr('/f', 'user.a', TEXT));
  if (!supports.exchange) refused('exchanging names', [...no, 'EINVAL'], (files) => files.rename('/f', '/g', RenameFlag.EXCHANGE));
  else
    list.add('rename-replaces-in-one-step', 'exchanging two names', () =>
      theatre.run({ seed }, async ({ files }) => {
        await files.mkdir('/d');
        await files.write('/f', 0, TEXT);
        await files.rename('/f', '/d', RenameFlag.EXCHANGE);
        sameBytes(await files.readAll('/d'), TEXT, 'the file under the directory’s name');
        same((await files.stat('/f')).type, FileType.DIRECTORY, 'type');
      }),
    );
  if (!supports.punch) refused('punching holes', no, (files) => files.allocate('/f', AllocateMode.PUNCH_HOLE, 0, 50));
}

/** Adds the case of a filesystem that cannot be changed. */
export function addReadOnlyCases(list: CaseList, theatre: Theatre, seed: number): void {
  list.add('nothing-changes-read-only', 'every change is refused', () =>
    theatre.run({ seed }, async ({ files }) => {
      const before = await files.list();
      const first = before.find((line) => / file \d+ -?\d+$/.test(line))?.replace(/ file \d+ -?\d+$/, '');
      must(first !== undefined, 'the suite wants a file in it to try its changes on');
      const path = first as string;
      const changes: (() => Promise<unknown>)[] = [
        () => files.create('/new'),
        () => files.mkdir('/new'),
        () => files.symlink('a', '/new'),
        () => files.unlink(path),
        () => files.rename(path, '/new'),
        () => files.link(path, '/new'),
        () => files.truncate(path, 0),
        () => files.chmod(path, 0o600),
        () => files.open(path, OpenFlag.READ_WRITE),
        () => files.setXattr(path, 'user.a', TEXT),
      ];
      for (const change of changes) await fails(change, ['EROFS'], String(change));
      same(await files.list(), before, 'tree');
    }),
  );
  list.add('reads-what-was-written', 'the same bytes in pieces, at once and directly', () =>
    theatre.run({ seed }, async ({ files }) => {
      for (const line of await files.list()) {
        const path = line.replace(/ file \d+ -?\d+$/, '');
        if (path === line) continue;
        const whole = await files.readAll(path);
        same((await files.stat(path)).sizeBytes, whole.length, 'size');
        for (let at = 0; at < whole.length; at += 3001)
          sameBytes(await files.read(path, at, 3001), whole.subarray(at, at + 3001), `${path} at ${at}`);
      }
    }),
  );
}
