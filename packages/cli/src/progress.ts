/**
 * Progress of long work, on stderr: a bar on a terminal, one line for each phase when piped, nothing at all with `--json`.
 */
import { formatSize } from '@tidemark/core';
import { Presets, SingleBar } from 'cli-progress';

/** Where a job tells how far it is. */
export interface Progress {
  /** A phase of `totalBytes` begins. */
  begin(phase: string, totalBytes: number): void;
  /** `doneBytes` of it are done. Cheap: called for every chunk. */
  advance(doneBytes: number): void;
  /** It ended. */
  end(): void;
  /** A remark. */
  say(line: string): void;
  /** Leaves the terminal as it was, also in the middle of a phase. */
  stop(): void;
}

/** The progress for this process. */
export function createProgress(json: boolean): Progress {
  if (json) return new Silent();
  return process.stderr.isTTY ? new Bar() : new Lines();
}

class Silent implements Progress {
  begin(): void {}
  advance(): void {}
  end(): void {}
  say(_line: string): void {}
  stop(): void {}
}

class Lines implements Progress {
  #phase = '';
  #beganMs = 0;
  #totalBytes = 0;

  begin(phase: string, totalBytes: number): void {
    this.#phase = phase;
    this.#totalBytes = totalBytes;
    this.#beganMs = performance.now();
  }

  advance(): void {}

  end(): void {
    const seconds = (performance.now() - this.#beganMs) / 1000;
    this.say(`${this.#phase}: ${formatSize(this.#totalBytes)} in ${seconds.toFixed(2)} s`);
  }

  say(line: string): void {
    process.stderr.write(`${line}\n`);
  }

  stop(): void {}
}

const KIB = 1024;

class Bar implements Progress {
  #bar: SingleBar | null = null;

  begin(phase: string, totalBytes: number): void {
    this.#bar = new SingleBar(
      {
        format: `${phase.padEnd(24)} {bar} {percentage}%  {eta_formatted} left`,
        hideCursor: true,
        clearOnComplete: true,
        fps: 10,
        stream: process.stderr,
      },
      Presets.shades_classic,
    );
    this.#bar.start(Math.ceil(totalBytes / KIB), 0);
  }

  advance(doneBytes: number): void {
    this.#bar?.update(Math.floor(doneBytes / KIB));
  }

  end(): void {
    this.stop();
  }

  say(line: string): void {
    process.stderr.write(`${line}\n`);
  }

  stop(): void {
    this.#bar?.stop();
    this.#bar = null;
  }
}
