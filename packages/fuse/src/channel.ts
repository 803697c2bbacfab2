/**
 * The way to the operating system: a mount, the requests that come from it, and the replies. The host's is in `@tidemark/fuse/host`; a test
 * brings its own.
 */
import { type KernelError, type NegErrno, type Token, token } from '@tidemark/core';

/** Who serves a mount. */
export interface ChannelHandler {
  /** Where the next request is to go. Asked for before each; with reading paused the answer does not matter. */
  buffer(): Uint8Array;
  /**
   * A request stands in the buffer.
   * @returns false to have no more read until `resume`.
   */
  request(length: number): boolean;
  /** No more requests will come: it was unmounted (null), or the channel broke. */
  closed(error: KernelError | null): void;
}

/** One mount of the operating system. */
export interface FuseChannel {
  /** Begins to hand requests over. Once. */
  start(handler: ChannelHandler): void;
  /** Reads on. */
  resume(): void;
  /** Sends a reply; at once. @returns 0, or a negative errno: `-ENOENT` for a request nobody waits for any more. */
  reply(bytes: Uint8Array): NegErrno;
  /** Tells the kernel something unasked. It may wait for locks whose holders wait for replies, so it must not hold up whoever replies. */
  notify(bytes: Uint8Array): Promise<NegErrno>;
  /** @throws KernelError EBUSY if somebody uses it. */
  unmount(): Promise<void>;
  /** Takes it out of the tree of names at once; it ends when its last user leaves, or with `abort`. */
  detach(): Promise<void>;
  /** Ends it: whoever still uses it gets ENOTCONN. */
  abort(): void;
}

/** How a mount is to be. */
export interface ChannelOptions {
  readonly readOnly: boolean;
  /** Largest READ in bytes. */
  readonly readBytes: number;
  /** What `mount` and `df` show as the source. */
  readonly source: string;
  /** Further options of mount(8), such as `allow_other`, `noatime`. */
  readonly options: readonly string[];
}

/** What mounts. */
export interface FuseHost {
  /**
   * Mounts on a directory of the host.
   * @throws KernelError ENODEV (no /dev/fuse), EPERM (not root), ENOENT, ENOTDIR, EIO with what mount(8) says.
   */
  mount(directory: string, options: ChannelOptions): Promise<FuseChannel>;
}

/** What mounts on the host; one or none. */
export const FUSE_HOST: Token<FuseHost> = token('fuse-host');
