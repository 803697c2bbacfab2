/**
 * A mount of the host: /dev/fuse is opened, mount(8) is given the descriptor, umount(8) ends it. Both are run beside this process, never
 * waited for synchronously: they ask for files that only this process can answer for.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { Errno, type ErrnoName, KernelError, type NegErrno } from '@tidemark/core';
import type { ChannelHandler, ChannelOptions, FuseChannel, FuseHost } from '../channel.js';
import { type DeviceReader, readDevice } from './device.js';

const DEVICE = '/dev/fuse';
/** Text of a program that is kept for an error message. */
const TEXT_MAX = 1000;

/** What a program said, and how it ended. */
interface Ended {
  readonly code: number | null;
  readonly text: string;
}

function run(command: string, args: readonly string[], fd: number | 'ignore'): Promise<Ended> {
  return new Promise((resolve) => {
    const child: ChildProcess = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe', fd], env: { ...process.env, LC_ALL: 'C' } });
    let text = '';
    child.stderr?.setEncoding('utf8').on('data', (piece: string) => {
      text = `${text}${piece}`.slice(0, TEXT_MAX);
    });
    child.once('error', (error) => resolve({ code: null, text: error.message }));
    child.once('close', (code) => resolve({ code, text: text.trim() }));
  });
}

class HostChannel implements FuseChannel {
  #reader: DeviceReader | null = null;
  #isClosed = false;

  constructor(
    private readonly directory: string,
    private readonly fd: number,
  ) {}

  start(handler: ChannelHandler): void {
    this.#reader = readDevice(this.fd, {
      buffer: () => handler.buffer(),
      request: (length) => handler.request(length),
      closed: (error) => {
        this.#isClosed = true;
        const isOrdinary = error === null || error.code === 'ENODEV' || error.code === 'ECONNABORTED';
        handler.closed(isOrdinary ? null : new KernelError('EIO', `${DEVICE} of ${this.directory}: ${error.message}`, { cause: error }));
      },
    });
    this.#reader.start();
  }

  resume(): void {
    this.#reader?.resume();
  }

  reply(bytes: Uint8Array): NegErrno {
    if (this.#isClosed) return -Errno.ENODEV;
    try {
      fs.writeSync(this.fd, bytes);
      return 0;
    } catch (error) {
      return (error as NodeJS.ErrnoException).errno ?? -Errno.EIO;
    }
  }

  notify(bytes: Uint8Array): Promise<NegErrno> {
    if (this.#isClosed) return Promise.resolve(-Errno.ENODEV);
    return new Promise((resolve) => {
      fs.write(this.fd, bytes, (error) => resolve(error === null ? 0 : (error.errno ?? -Errno.EIO)));
    });
  }

  async unmount(): Promise<void> {
    if (this.#isClosed) return;
    const { code, text } = await run('umount', ['--', this.directory], 'ignore');
    if (code === 0 || this.#isClosed || /not mounted/.test(text)) return;
    throw new KernelError(/busy/.test(text) ? 'EBUSY' : 'EIO', `unmount ${this.directory}: ${text}`);
  }

  async detach(): Promise<void> {
    if (this.#isClosed) return;
    const { code, text } = await run('umount', ['-l', '--', this.directory], 'ignore');
    if (code !== 0 && !/not mounted/.test(text)) throw new KernelError('EIO', `unmount ${this.directory}: ${text}`);
  }

  abort(): void {
    this.#reader?.close();
  }
}

/** What mounts on this host. */
export class LinuxHost implements FuseHost {
  async mount(directory: string, { readOnly, readBytes, source, options }: ChannelOptions): Promise<FuseChannel> {
    const at = path.resolve(directory);
    const refuse = (code: ErrnoName, why: string): KernelError => new KernelError(code, `mount on ${directory}: ${why}`);
    for (const option of options)
      if (!/^[\w.:=/@+-]+$/.test(option)) throw refuse('EINVAL', `${JSON.stringify(option)} is no option of mount(8)`);
    if (process.platform !== 'linux') throw refuse('ENODEV', `FUSE is Linux's, and this is ${process.platform}`);
    const stats = fs.statSync(at, { throwIfNoEntry: false });
    if (stats === undefined) throw refuse('ENOENT', 'there is no such directory');
    if (!stats.isDirectory()) throw refuse('ENOTDIR', 'it is no directory');
    if (process.geteuid?.() !== 0)
      throw refuse(
        'EPERM',
        'only root may mount: an ordinary user needs fusermount3, which hands the descriptor over in a way Node cannot receive',
      );
    const fd = openDevice(refuse);
    const all = ['fd=3', 'rootmode=40000', 'user_id=0', 'group_id=0', 'default_permissions', `max_read=${readBytes}`, 'subtype=tidemark'];
    all.push(readOnly ? 'ro' : 'rw', ...options);
    const { code, text } = await run('mount', ['-i', '-t', 'fuse', '-o', all.join(','), source, at], fd);
    if (code === 0) return new HostChannel(at, fd);
    fs.closeSync(fd);
    throw refuse('EIO', `mount(8) says: ${text === '' ? `exit code ${code}` : text}`);
  }
}

function openDevice(refuse: (code: ErrnoName, why: string) => KernelError): number {
  try {
    return fs.openSync(DEVICE, 'r+');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENODEV' || code === 'ENXIO')
      throw refuse('ENODEV', `this host has no ${DEVICE}: its kernel was built without FUSE, or the module fuse is not loaded`);
    if (code === 'EACCES' || code === 'EPERM') throw refuse('EPERM', `${DEVICE} may not be opened: ${message}`);
    throw refuse('EIO', message);
  }
}
