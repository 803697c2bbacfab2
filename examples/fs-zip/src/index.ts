/**
 * fs-zip: a zip archive on a block device as a read-only filesystem, `kernel.mount('zip:archive.zip', '/')`.
 *
 * The archive is read through the device's page cache, entries are inflated by zip.js as they are read; only names and attributes are kept, and paid
 * for. It writes nothing, so it has no node in the writeout graph. Reading at an offset inflates an entry from its beginning on: reading in order goes
 * on where the last read ended only within one run of readahead.
 */
import {
  type AddressSpaceOperations,
  BlockDevice,
  type DeviceCache,
  definePlugin,
  type DirectorySink,
  Errno,
  FILE_SYSTEM,
  type FileSystemType,
  FileType,
  type FoundEntry,
  type Inode,
  KERNEL,
  type Kernel,
  KernelError,
  type MountOptions,
  type NegErrno,
  PAGE_SIZE,
  type SuperblockOps,
  type TaskContext,
} from '@tidemark/core';
import { configure, type FileEntry, Reader, ZipReader } from '@zip.js/zip.js';

configure({ useWebWorkers: false, useCompressionStream: false }); // in this thread, in steps that the kernel's host sees

/** What an entry takes on the JS heap, its name and the library's object included. */
const ENTRY_BYTES = 2048;

class DeviceReader extends Reader<DeviceCache> {
  constructor(
    readonly cache: DeviceCache,
    override size: number,
  ) {
    super(cache);
  }

  override async readUint8Array(index: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(Math.max(Math.min(length, this.size - index), 0));
    for (let done = 0; done < bytes.length; ) done += await this.cache.read(index + done, bytes.subarray(done));
    return bytes;
  }
}

/** A directory or a file. Its number is its place in the list, plus one. */
interface Node {
  readonly parent: number;
  readonly names: Map<string, number>;
  entry: FileEntry | null;
}

const readOnly = (): NegErrno => -Errno.EROFS;

async function mountZip(kernel: Kernel, source: string, { device: given }: MountOptions): Promise<SuperblockOps> {
  const device = given instanceof BlockDevice ? given : await kernel.openBlockDevice(source.slice('zip:'.length), { readOnly: true });
  const cache = kernel.cacheDevice(device);
  const nodes: Node[] = [{ parent: 1, names: new Map(), entry: null }];
  const name = `zip:${device.name}`;
  let charge: { free(): void } | null = null;
  const close = async (): Promise<0> => {
    charge?.free();
    await cache.close();
    if (given === undefined) await device.close();
    return 0;
  };
  try {
    const entries = await new ZipReader(new DeviceReader(cache, device.sizeBytes)).getEntries().catch((cause: unknown) => {
      throw new KernelError('EUCLEAN', `${name} is no zip archive: ${cause instanceof Error ? cause.message : cause}`, { cause });
    });
    charge = kernel.memory.chargeStanding(`entries of ${name}`, Math.ceil((entries.length * ENTRY_BYTES) / PAGE_SIZE));
    for (const entry of entries) addEntry(nodes, entry.filename, entry.directory ? null : entry);
  } catch (error) {
    await close();
    throw error;
  }
  const nodeOf = ({ ino }: Inode): Node => nodes[ino - 1];
  return {
    apiVersion: 1,
    name,
    rootIno: 1,
    readOnly: true,
    blockSizeBytes: PAGE_SIZE,
    maxFileSizeBytes: Number.MAX_SAFE_INTEGER,
    maxLinks: 1,
    updatesAtOnce: false,
    readInode(_task: TaskContext, inode: Inode) {
      const node = nodes[inode.ino - 1];
      if (node === undefined) return -Errno.ESTALE;
      inode.mode = node.entry === null ? FileType.DIRECTORY | 0o555 : FileType.REGULAR | 0o444;
      inode.nlink = node.entry === null ? 2 : 1;
      inode.generation = 1;
      inode.sizeBytes = node.entry?.uncompressedSize ?? 0;
      inode.blocksBytes = node.entry?.compressedSize ?? 0;
      inode.accessedMs = inode.modifiedMs = inode.changedMs = inode.createdMs = node.entry?.lastModDate.getTime() ?? 0;
      return 0;
    },
    lookup(_task: TaskContext, dir: Inode, wanted: string, found: FoundEntry) {
      const ino = wanted === '..' ? nodeOf(dir).parent : nodeOf(dir).names.get(wanted);
      if (ino === undefined) return -Errno.ENOENT;
      found.ino = ino;
      return 0;
    },
    readDirectory(_task: TaskContext, dir: Inode, cookie: number, sink: DirectorySink) {
      const type = (ino: number): number => (nodes[ino - 1].entry === null ? FileType.DIRECTORY : FileType.REGULAR);
      for (const [child, ino] of [...nodeOf(dir).names].slice(cookie)) if (!sink.add(child, ino, type(ino), ++cookie)) break;
      return 0;
    },
    addressSpace: (inode: Inode): AddressSpaceOperations => ({
      sizeBytes: inode.sizeBytes,
      readFolio: (_task, index, pfn) => inflate(kernel, nodeOf(inode).entry as FileEntry, index, Uint32Array.of(pfn), 0, 1),
      readahead: (_task, index, pfns, from, count) => inflate(kernel, nodeOf(inode).entry as FileEntry, index, pfns, from, count),
    }),
    readLink: () => -Errno.EINVAL,
    deleteInode: () => 0,
    create: readOnly,
    link: readOnly,
    remove: readOnly,
    rename: readOnly,
    setAttributes: readOnly,
    room: () => ({ totalBytes: device.sizeBytes, freeBytes: 0, availableBytes: 0, totalInodes: nodes.length, freeInodes: 0 }),
    sync: () => 0,
    unmount: close,
  };
}

/** Puts an entry where its name says, with the directories above it. What leads out, or has a name twice, is left out. */
function addEntry(nodes: Node[], filename: string, entry: FileEntry | null): void {
  const parts = filename.split('/').filter((part) => part !== '');
  if (parts.some((part) => part === '.' || part === '..' || part.length > 255)) return;
  let at = 1;
  for (const [i, part] of parts.entries()) {
    const { names, entry: file } = nodes[at - 1];
    if (file !== null) return;
    const known = names.get(part);
    if (known === undefined) names.set(part, nodes.push({ parent: at, names: new Map(), entry: i === parts.length - 1 ? entry : null }));
    at = known ?? nodes.length;
  }
}

/** Fills frames with consecutive pages of an entry. */
async function inflate(
  kernel: Kernel,
  entry: FileEntry,
  index: number,
  pfns: Uint32Array,
  from: number,
  count: number,
): Promise<0 | NegErrno> {
  const first = index * PAGE_SIZE;
  const end = Math.min(first + count * PAGE_SIZE, entry.uncompressedSize);
  let at = 0;
  const enough = new Error('enough');
  const write = (chunk: Uint8Array): void => {
    for (let done = Math.max(first - at, 0); done < chunk.length && at + done < end; ) {
      const offset = at + done - first;
      const inPage = offset % PAGE_SIZE;
      const piece = chunk.subarray(done, done + Math.min(PAGE_SIZE - inPage, end - at - done));
      kernel.memory.arena.view(pfns[from + Math.floor(offset / PAGE_SIZE)] * PAGE_SIZE + inPage, piece.length).set(piece);
      done += piece.length;
    }
    at += chunk.length;
    if (at >= end && end < entry.uncompressedSize) throw enough; // a checksum covers the whole: it is checked by who reads to the end
  };
  try {
    await entry.getData({ writable: new WritableStream({ write }) }, { checkSignature: true });
    return 0;
  } catch (error) {
    return error === enough || at >= end ? 0 : -Errno.EIO;
  }
}

/** Registers `zip:DEVICE`. Option `device`: a block device of the kernel, already open. */
export const fsZip = definePlugin({
  name: 'fs-zip',
  register(container) {
    container.register(FILE_SYSTEM, {
      useFactory: (c): FileSystemType => ({
        schemes: ['zip'],
        mount: (_task, source, options) => mountZip(c.resolve(KERNEL), source, options),
      }),
    });
  },
});
