/**
 * The driver of `file:PATH` and of bare paths.
 *
 *     disk.img   ./a?b.img                     a path without scheme, taken as it stands
 *     file:disk.img   file:///srv/disk.img     a path up to the first `?`; nothing is percent-decoded
 *     file:disk.img?io=threaded&create=1&size=64MiB
 *
 * `io` is `sync` or `threaded`, `create` is `0` or `1`, `size` a size; they win over the options of the call.
 */
import { KernelError } from '../base/errno.js';
import type { BlockDeviceOps, BlockDriver } from '../block/block-device.js';
import type { Arena } from '../mm/arena.js';
import { type FileDeviceOptions, openFileDevice } from './file-device.js';
import type { FileIoMode } from './file-io.js';

export class FileDriver implements BlockDriver {
  /** The empty scheme stands for a bare path. */
  readonly schemes = ['file', ''];

  constructor(readonly arena: Arena) {}

  async open(url: string, options: FileDeviceOptions): Promise<BlockDeviceOps> {
    if (!/^file:/i.test(url)) return openFileDevice(this.arena, url, options);
    const question = url.indexOf('?');
    const path = pathOf(url, url.slice('file:'.length, question < 0 ? undefined : question));
    const query = question < 0 ? {} : parseQuery(url, url.slice(question + 1));
    return openFileDevice(this.arena, path, { ...options, ...query });
  }
}

function pathOf(url: string, path: string): string {
  if (!path.startsWith('//')) return path;
  if (!path.startsWith('///')) throw new KernelError('EINVAL', `${url} names a host: a file device is a file of this one`);
  return path.slice(2);
}

function parseQuery(url: string, text: string): FileDeviceOptions {
  const options: { io?: FileIoMode; create?: boolean; sizeBytes?: string } = {};
  for (const [key, value] of new URLSearchParams(text)) {
    if (key === 'io' && (value === 'sync' || value === 'threaded')) options.io = value;
    else if (key === 'create' && (value === '0' || value === '1')) options.create = value === '1';
    else if (key === 'size') options.sizeBytes = value;
    else throw new KernelError('EINVAL', `${url}: "${key}=${value}" is no option; want io=sync|threaded, create=0|1, size=SIZE`);
  }
  return options;
}
