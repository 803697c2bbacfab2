/** The bios of one connection: made when it is accepted, taken and put back for each piece of a request, never waited for in here. */
import { Bio } from '@tidemark/core';

export class BioStack {
  readonly #free: Bio[] = [];

  constructor(
    readonly nrBios: number,
    onEnd: (bio: Bio) => void,
  ) {
    for (let i = 0; i < nrBios; i++) {
      const bio = new Bio(1);
      bio.onEnd = onEnd;
      this.#free.push(bio);
    }
  }

  get nrFree(): number {
    return this.#free.length;
  }

  take(): Bio | undefined {
    return this.#free.pop();
  }

  put(bio: Bio): void {
    this.#free.push(bio);
  }
}
