/** Archives that the Linux kernel unpacks as its first root filesystem (cpio, form "newc"). */

const TRAILER = 'TRAILER!!!';
const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFCHR = 0o020000;

function field(value: number): string {
  return value.toString(16).padStart(8, '0');
}

function paddingTo4(lengthBytes: number): Buffer {
  return Buffer.alloc((4 - (lengthBytes % 4)) % 4);
}

/** One archive, being written. Directories come into being with what is in them. */
export class CpioArchive {
  readonly #parts: Buffer[] = [];
  readonly #names = new Set<string>();
  #nextIno = 1;

  has(path: string): boolean {
    return this.#names.has(path);
  }

  /** A file at an absolute path; what is there already stays. */
  file(path: string, content: Uint8Array | string, mode = 0o755): this {
    return this.#add(path, S_IFREG | mode, Buffer.from(content as string));
  }

  directory(path: string, mode = 0o755): this {
    return this.#add(path, S_IFDIR | mode, Buffer.alloc(0));
  }

  characterDevice(path: string, major: number, minor: number): this {
    return this.#add(path, S_IFCHR | 0o600, Buffer.alloc(0), major, minor);
  }

  #add(path: string, mode: number, content: Buffer, major = 0, minor = 0): this {
    if (this.has(path)) return this;
    const above = path.slice(0, path.lastIndexOf('/'));
    if (above !== '') this.directory(above);
    this.#names.add(path);
    this.#entry(path.slice(1), mode, content, major, minor);
    return this;
  }

  #entry(name: string, mode: number, content: Buffer, major: number, minor: number): void {
    const nameBytes = Buffer.from(`${name}\0`);
    const numbers = [this.#nextIno++, mode, 0, 0, 1, 0, content.length, 0, 0, major, minor, nameBytes.length, 0];
    const head = Buffer.concat([Buffer.from(`070701${numbers.map(field).join('')}`), nameBytes]);
    this.#parts.push(head, paddingTo4(head.length), content, paddingTo4(content.length));
  }

  /** The whole archive; nothing can be added any more. */
  end(): Buffer {
    this.#entry(TRAILER, 0, Buffer.alloc(0), 0, 0);
    return Buffer.concat(this.#parts);
  }
}
