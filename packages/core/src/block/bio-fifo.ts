/** A first-in first-out list of bios that wait for a device, linked through `devicePrivate`: no memory of its own. */
import type { NegErrno } from '../base/errno.js';
import type { Bio } from './bio.js';

export class BioFifo {
  #head: Bio | null = null;
  #tail: Bio | null = null;

  get first(): Bio | null {
    return this.#head;
  }

  push(bio: Bio): void {
    bio.devicePrivate = null;
    if (this.#tail === null) this.#head = bio;
    else this.#tail.devicePrivate = bio;
    this.#tail = bio;
  }

  shift(): Bio | null {
    const bio = this.#head;
    if (bio === null) return null;
    this.#head = bio.devicePrivate as Bio | null;
    if (this.#head === null) this.#tail = null;
    bio.devicePrivate = null;
    return bio;
  }

  /** Moves every bio of `other` behind those here. */
  takeAll(other: BioFifo): void {
    for (let bio = other.shift(); bio !== null; bio = other.shift()) this.push(bio);
  }

  /** Ends every bio. An ended bio may be submitted again at once: not to this list. */
  endAll(status: NegErrno): void {
    for (let bio = this.shift(); bio !== null; bio = this.shift()) bio.end(status);
  }
}
