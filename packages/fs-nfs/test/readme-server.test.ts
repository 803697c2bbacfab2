/**
 * The table of the server's procedures in README.md, made by calling each: as it should be, with a handle that nobody was given, with that of a file
 * which is gone, through an export that is read-only, and once more with the same xid. `npx vitest run …/readme-server.test.ts -u` writes it anew.
 */
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  CreateMode,
  Nfs3,
  NFS_PROGRAM,
  NfsStatus,
  NO_CHANGE,
  putCreate,
  putMakeDirectory,
  putMakeNode,
  putMakeSymlink,
  putRename,
  putSetAttributes,
  Stable,
  type XdrWriter,
} from '@tidemark/fs-nfs';
import { expect, it } from 'vitest';
import { type NfsClient, serve, type Served, text, writeArguments } from './server-fixture.js';

const PAGE = path.join(path.dirname(fileURLToPath(import.meta.url)), '../README.md');
const FIFO = 7;

/** Handles that a call may name. */
interface Handles {
  readonly directory: Uint8Array;
  readonly file: Uint8Array;
  readonly link: Uint8Array;
}

type Write = (handles: Handles, out: XdrWriter) => void;

const dots = new Uint8Array(16);
const at = ({ directory }: Handles, name: string) => ({ directory, name: text(name) });
const mode = { ...NO_CHANGE, mode: 0o700 };

/** A good call of each procedure; those later ones find what the ones before have made. */
const CALLS: Readonly<Record<keyof typeof Nfs3, Write>> = {
  NULL: () => {},
  GETATTR: ({ file }, out) => void out.opaque(file),
  SETATTR: ({ file }, out) => putSetAttributes(out, { handle: file, attributes: mode, guard: null }),
  LOOKUP: ({ directory }, out) => void out.opaque(directory).opaque(text('file')),
  ACCESS: ({ directory }, out) => void out.opaque(directory).u32(0x3f),
  READLINK: ({ link }, out) => void out.opaque(link),
  READ: ({ file }, out) => void out.opaque(file).u64(0).u32(100),
  WRITE: ({ file }, out) => writeArguments(file, 0, text('data'), Stable.FILE_SYNC)(out),
  CREATE: (handles, out) => putCreate(out, { ...at(handles, 'new'), mode: CreateMode.GUARDED, attributes: mode, verifier: null }),
  MKDIR: (handles, out) => putMakeDirectory(out, { ...at(handles, 'sub'), attributes: mode }),
  SYMLINK: (handles, out) => putMakeSymlink(out, { ...at(handles, 'another'), attributes: NO_CHANGE, target: text('file') }),
  MKNOD: (handles, out) => putMakeNode(out, { ...at(handles, 'fifo'), type: FIFO, attributes: mode, rdevMajor: 0, rdevMinor: 0 }),
  REMOVE: ({ directory }, out) => void out.opaque(directory).opaque(text('new')),
  RMDIR: ({ directory }, out) => void out.opaque(directory).opaque(text('sub')),
  RENAME: (handles, out) => putRename(out, { from: at(handles, 'fifo'), to: at(handles, 'renamed') }),
  LINK: ({ file, directory }, out) => void out.opaque(file).opaque(directory).opaque(text('hard')),
  READDIR: ({ directory }, out) => void out.opaque(directory).fixed(dots).u32(2000),
  READDIRPLUS: ({ directory }, out) => void out.opaque(directory).fixed(dots).u32(2000).u32(4000),
  FSSTAT: ({ directory }, out) => void out.opaque(directory),
  FSINFO: ({ directory }, out) => void out.opaque(directory),
  PATHCONF: ({ directory }, out) => void out.opaque(directory),
  COMMIT: ({ file }, out) => void out.opaque(file).u64(0).u32(0),
};

const STATUS_NAMES: ReadonlyMap<number, string> = new Map(Object.entries(NfsStatus).map(([name, status]) => [status, name]));

async function handlesOf(nfs: NfsClient, exportPath: string): Promise<Handles> {
  const directory = await nfs.lookup(await nfs.mount(exportPath), 'd');
  return { directory, file: await nfs.lookup(directory, 'file'), link: await nfs.lookup(directory, 'link') };
}

/** Handles with one bit that is not theirs. */
function forged({ directory, file, link }: Handles): Handles {
  const flip = (handle: Uint8Array): Uint8Array => handle.map((byte, i) => (i === handle.length - 1 ? byte ^ 1 : byte));
  return { directory: flip(directory), file: flip(file), link: flip(link) };
}

async function statusOf(nfs: NfsClient, procedure: number, write: (out: XdrWriter) => void): Promise<string> {
  const body = await nfs.rpc.call(NFS_PROGRAM, 3, procedure, nfs.credentials, write);
  return body.left === 0 ? '–' : (STATUS_NAMES.get(body.u32()) ?? 'unknown');
}

/** Handles of a directory, a file and a link that have been removed since. */
async function goneHandles(nfs: NfsClient): Promise<Handles> {
  const root = await nfs.mount('/');
  const [directory, file] = [await nfs.mkdir(root, 'gone'), await nfs.create(root, 'gone too')];
  const made = await nfs.make(Nfs3.SYMLINK, root, 'gone as well', (out) => {
    putSymlinkRest(out);
  });
  await nfs.remove(Nfs3.RMDIR, root, 'gone');
  for (const name of ['gone too', 'gone as well']) await nfs.remove(Nfs3.REMOVE, root, name);
  return { directory, file, link: made.handle as Uint8Array };
}

/** Arguments of SYMLINK behind the place. */
function putSymlinkRest(out: XdrWriter): void {
  for (let i = 0; i < 6; i++) out.u32(0); // no attributes
  out.opaque(text('file'));
}

async function rows({ server }: Served, nfs: NfsClient): Promise<string[]> {
  const root = await nfs.mount('/');
  const directory = await nfs.mkdir(root, 'd');
  await nfs.create(directory, 'file');
  await nfs.make(Nfs3.SYMLINK, directory, 'link', (out) => putSymlinkRest(out));
  const good = await handlesOf(nfs, '/');
  const readOnly = await handlesOf(nfs, '/ro');
  const gone = await goneHandles(nfs);
  const made: string[] = [];
  for (const [name, number] of Object.entries(Nfs3)) {
    const write = CALLS[name as keyof typeof Nfs3];
    const ask = (handles: Handles): Promise<string> => statusOf(nfs, number, (out) => write(handles, out));
    const [no, stale, refused] = [await ask(forged(good)), await ask(gone), await ask(readOnly)];
    const xid = nfs.rpc.nextXid;
    const answer = await ask(good);
    nfs.rpc.nextXid = xid;
    const { nrReplayed } = server;
    const again = await ask(good);
    expect(again).toBe(answer);
    const isKept = server.nrReplayed > nrReplayed;
    made.push(`| ${number} | ${name} | ${answer} | ${no} | ${stale} | ${refused} | ${isKept ? 'the reply of before' : 'done again'} |`);
  }
  return made;
}

it('says what the server answers', async () => {
  const served = await serve({ exports: { '/': { tree: '/', squash: 'none' }, '/ro': { tree: '/', squash: 'none', readOnly: true } } });
  const nfs = await served.connect();
  const head = [
    '| | procedure | a good call | forged handle | of a file that is gone | export read-only | sent again |',
    '|---|---|---|---|---|---|---|',
  ];
  const table = [...head, ...(await rows(served, nfs))].join('\n');
  nfs.rpc.close();
  await served.close();
  const section = /(<!-- answers: made by test\/readme-server.test.ts -->\n)[\s\S]*?(<!-- end -->)/;
  const page = fs.readFileSync(PAGE, 'utf8');
  expect(page).toMatch(section);
  await expect(page.replace(section, `$1\n${table}\n\n$2`)).toMatchFileSnapshot(PAGE);
});
