/**
 * A tree of a kernel under `node:vfs`, where the running Node has it (26.4 and later, with `--experimental-vfs`): then `node:fs`, `import`
 * and `require` themselves find the tree, below a path that Node chooses.
 *
 *     const mounted = mountInNode(kernel.fs);
 *     fs.readFileSync(`${mounted.mountPoint}/notes/a.txt`);      // Node's own fs
 *     await import(`${mounted.mountPoint}/module.mjs`);
 *     mounted.unmount();
 *
 * What Node asks of a provider is answered by the calls of `kernel.fs`, so synchronous ones, `import` among them, fail with EAGAIN where they
 * would have to wait. Errors name paths as the tree has them; so do the targets of symbolic links.
 */
import { KernelError } from '../../base/errno.js';
import type { NodeFs } from './node-fs.js';
import type { Dirent } from './stats.js';
import { VirtualHandle } from './virtual-handle.js';

/** What is used of the module `node:vfs`. */
interface NodeVfsModule {
  readonly VirtualProvider: new () => object;
  create(provider: object, options?: { emitExperimentalWarning?: boolean }): NodeVirtualFileSystem;
}

/** What is used of its `VirtualFileSystem`. */
interface NodeVirtualFileSystem {
  mount(): string;
  unmount(): void;
}

/** A tree that Node's own calls find. */
export interface MountedInNode {
  /** Where: what is `/a` in the tree is `${mountPoint}/a` to Node. */
  readonly mountPoint: string;
  /** Ends it; files that are open stay open. Twice is fine. */
  unmount(): void;
}

type Call = (...args: unknown[]) => unknown;

/** Calls that mean the same to Node's providers and to `kernel.fs`: a promise form, and a synchronous form with `Sync`. */
const SAME = [
  ...['access', 'appendFile', 'chmod', 'chown', 'copyFile', 'lchown', 'link', 'lstat', 'lutimes', 'mkdir', 'readFile', 'readlink'],
  ...['realpath', 'rename', 'rmdir', 'stat', 'symlink', 'unlink', 'utimes', 'writeFile'],
];

/** The module, or null where the running Node has none. */
function nodeVfs(): NodeVfsModule | null {
  return (process.getBuiltinModule?.('node:vfs') as unknown as NodeVfsModule | undefined) ?? null;
}

/**
 * What `node:vfs` takes for a file system, over a tree: for `vfs.create(provider)`.
 * @param fs `kernel.fs`, or `kernel.fs.as(…)`.
 * @throws KernelError ENOSYS where the running Node has no `node:vfs`.
 */
export function createNodeVfsProvider(fs: NodeFs): object {
  return providerOf(required(), fs);
}

/**
 * Mounts a tree into the running process.
 * @param fs as above.
 * @throws KernelError ENOSYS where the running Node has no `node:vfs`.
 */
export function mountInNode(fs: NodeFs): MountedInNode {
  const module = required();
  const mounted = module.create(providerOf(module, fs), { emitExperimentalWarning: false });
  let isMounted = true;
  return {
    mountPoint: mounted.mount(),
    unmount() {
      if (isMounted) mounted.unmount();
      isMounted = false;
    },
  };
}

function required(): NodeVfsModule {
  const module = nodeVfs();
  if (module !== null) return module;
  throw new KernelError(
    'ENOSYS',
    `there is no node:vfs here: it comes with Node 26.4, under --experimental-vfs; this is ${process.version}`,
  );
}

/** Entries as Node's providers give them: below the first level, names are paths from where the reading began. */
function listed(path: string, entries: unknown[], options: unknown): unknown[] {
  const { withFileTypes, recursive } = (options ?? {}) as { withFileTypes?: boolean; recursive?: boolean };
  if (withFileTypes !== true || recursive !== true) return entries;
  const top = path.endsWith('/') ? path.length : path.length + 1;
  for (const entry of entries as (Dirent & { name: string })[]) {
    const above = entry.parentPath.slice(top);
    if (above !== '') Object.assign(entry, { name: `${above}/${entry.name}` });
  }
  return entries;
}

function providerOf(module: NodeVfsModule, fs: NodeFs): object {
  const sync = fs as unknown as Record<string, Call>;
  const promises = fs.promises as unknown as Record<string, Call>;
  const provider = class TreeProvider extends module.VirtualProvider {
    get readonly(): boolean {
      return false; // what cannot be written to says so itself
    }

    get supportsSymlinks(): boolean {
      return true;
    }

    get supportsWatch(): boolean {
      return true;
    }
  };
  const calls: Record<string, Call> = {
    open: async (path, flags, mode) => {
      const open = (resolve: (fd: number) => void, reject: (error: Error) => void): void =>
        fs.open(path as string, flags as string, mode as number, (error, fd) => (error ? reject(error) : resolve(fd)));
      return new VirtualHandle(fs, await new Promise<number>(open), path as string);
    },
    openSync: (path, flags, mode) => new VirtualHandle(fs, fs.openSync(path as string, flags as string, mode as number), path as string),
    exists: (path) =>
      fs.promises.access(path as string).then(
        () => true,
        () => false,
      ),
    existsSync: (path) => sync.existsSync(path),
    readdir: async (path, options) => listed(path as string, (await promises.readdir(path, options)) as unknown[], options),
    readdirSync: (path, options) => listed(path as string, sync.readdirSync(path, options) as unknown[], options),
    watch: (path, options) => sync.watch(path, options),
    watchAsync: (path, options) => promises.watch(path, options),
    watchFile: (path, options, listener) => sync.watchFile(path, options, listener),
    unwatchFile: (path, listener) => sync.unwatchFile(path, listener),
  };
  for (const name of SAME) {
    calls[name] = (...args) => promises[name](...args);
    calls[`${name}Sync`] = (...args) => sync[`${name}Sync`](...args);
  }
  for (const [name, value] of Object.entries(calls)) Object.defineProperty(provider.prototype, name, { value, writable: true });
  return new provider();
}
