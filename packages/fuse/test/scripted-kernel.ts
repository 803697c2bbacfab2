/** A FUSE kernel for tests: it mounts at once, sends the requests it is told to, and keeps the replies and notifications. */
import { definePlugin, type NegErrno } from '@tidemark/core';
import { type ChannelHandler, FUSE_HOST, type FuseChannel, type FuseHost } from '@tidemark/fuse';

/** Numbers of the protocol, written down here once more: the test must not believe the server. */
export const OP = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME2: 45,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  GETLK: 31,
  SETLK: 32,
  SETLKW: 33,
  CREATE: 35,
  INTERRUPT: 36,
  IOCTL: 39,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
} as const;

/** A reply: 0 or a negative errno, and the body. */
export interface Answer {
  readonly error: number;
  readonly body: DataView;
}

/** Bytes of integers and text, in the order given: a number is 32 bits, a bigint 64, a string ends with NUL. */
export function pack(...parts: (number | bigint | string | Uint8Array)[]): Uint8Array {
  const bytes: number[] = [];
  for (const part of parts) {
    if (typeof part === 'string') bytes.push(...new TextEncoder().encode(part), 0);
    else if (typeof part === 'number') for (let i = 0; i < 4; i++) bytes.push((part >>> (8 * i)) & 0xff);
    else if (typeof part === 'bigint') for (let i = 0n; i < 8n; i++) bytes.push(Number((part >> (8n * i)) & 0xffn));
    else bytes.push(...part);
  }
  return Uint8Array.from(bytes);
}

export class ScriptedKernel implements FuseHost, FuseChannel {
  readonly notifications: DataView[] = [];
  /** Set: the next reply finds nobody waiting. */
  refusesReplies = false;
  isPaused = false;
  readonly #answers = new Map<bigint, Answer>();
  readonly #waiting = new Map<bigint, (answer: Answer) => void>();
  readonly #unsent: Uint8Array[] = [];
  #handler!: ChannelHandler;
  #unique = 2n;
  #isMounted = false;

  get plugin() {
    return definePlugin({
      name: 'scripted-kernel',
      register: (container) => container.register(FUSE_HOST, { useValue: this as FuseHost }),
    });
  }

  mount(): Promise<FuseChannel> {
    this.#isMounted = true;
    return Promise.resolve(this);
  }

  start(handler: ChannelHandler): void {
    this.#handler = handler;
  }

  resume(): void {
    this.isPaused = false;
    queueMicrotask(() => this.#pump());
  }

  reply(bytes: Uint8Array): NegErrno {
    const copy = bytes.slice();
    const view = new DataView(copy.buffer);
    if (view.getUint32(0, true) !== copy.length) throw new Error(`a reply of ${copy.length} bytes says it has ${view.getUint32(0, true)}`);
    if (this.refusesReplies) return -2;
    const unique = view.getBigUint64(8, true);
    const error = view.getInt32(4, true);
    if (error > 0 || error < -511 || (error < 0 && copy.length !== 16))
      throw new Error(`error ${error} in a reply of ${copy.length} bytes`);
    if (this.#answers.has(unique)) throw new Error(`request ${unique} was answered twice`);
    const answer = { error, body: new DataView(copy.buffer, 16) };
    this.#answers.set(unique, answer);
    this.#waiting.get(unique)?.(answer);
    return 0;
  }

  notify(bytes: Uint8Array): Promise<NegErrno> {
    this.notifications.push(new DataView(bytes.slice().buffer));
    return Promise.resolve(0);
  }

  unmount(): Promise<void> {
    this.abort();
    return Promise.resolve();
  }

  detach(): Promise<void> {
    return this.unmount();
  }

  abort(): void {
    if (!this.#isMounted) return;
    this.#isMounted = false;
    this.#handler.closed(null);
  }

  /** Sends raw bytes, when reading is not paused. */
  send(bytes: Uint8Array): void {
    this.#unsent.push(bytes);
    this.#pump();
  }

  #pump(): void {
    while (!this.isPaused && this.#isMounted) {
      const next = this.#unsent.shift();
      if (next === undefined) return;
      this.#handler.buffer().set(next);
      this.isPaused = !this.#handler.request(next.length);
    }
  }

  /** Sends a request. @returns its number. */
  post(opcode: number, nodeId: number, body: Uint8Array = new Uint8Array(0)): bigint {
    const unique = this.#unique;
    this.#unique += 2n;
    this.send(pack(40 + body.length, opcode, unique, BigInt(nodeId), 1000, 100, 4242, 0, body));
    return unique;
  }

  /** The answer to a request, when it comes. */
  answer(unique: bigint): Promise<Answer> {
    const there = this.#answers.get(unique);
    return there === undefined ? new Promise((resolve) => this.#waiting.set(unique, resolve)) : Promise.resolve(there);
  }

  hasAnswer(unique: bigint): boolean {
    return this.#answers.has(unique);
  }

  ask(opcode: number, nodeId: number, body?: Uint8Array): Promise<Answer> {
    return this.answer(this.post(opcode, nodeId, body));
  }

  /** As `ask`, for what must succeed. */
  async want(opcode: number, nodeId: number, body?: Uint8Array): Promise<DataView> {
    const { error, body: answer } = await this.ask(opcode, nodeId, body);
    if (error !== 0) throw new Error(`operation ${opcode} failed with ${error}`);
    return answer;
  }

  /** INIT, offering everything. */
  greet(minor = 45): Promise<DataView> {
    return this.want(OP.INIT, 0, pack(7, minor, 131072, 0x73ff_fffb, 0x5fd, new Uint8Array(44)));
  }
}
