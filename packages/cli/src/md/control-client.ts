/** Asks the server at a control socket, and tells how far it is (requests.ts). */
import net from 'node:net';
import { type ErrnoName, KernelError } from '@tidemark/core';
import { reasonOf } from '../host-error.js';
import type { Tell } from './perform.js';
import { LINE_BYTES_MAX, type MdAnswer, type MdRequest } from './requests.js';
import { absolute, controlPath } from './words.js';

/** Lines of an answer: what a server sends beyond is none. */
const ANSWER_BYTES_MAX = 16 * LINE_BYTES_MAX;

interface Said {
  readonly progress?: Parameters<Tell>[0];
  readonly answer?: MdAnswer;
  readonly error?: { readonly code: ErrnoName; readonly message: string };
}

/** Asks. Paths are the caller's. @throws KernelError of the server; EPROTO for what is no answer; what the host says. */
export function ask(word: string, request: MdRequest, tell: Tell): Promise<MdAnswer> {
  const path = controlPath(word);
  const asked = { ...request, array: request.array === null ? null : absolute(request.array), devices: request.devices.map(absolute) };
  return new Promise((resolve, reject) => {
    const socket = net.connect({ path });
    const fail = (code: ErrnoName, why: string): void => {
      socket.destroy();
      reject(new KernelError(code, `${word}: ${why}`));
    };
    let heard = '';
    socket.setEncoding('utf8');
    socket.on('connect', () => void socket.write(`${JSON.stringify(asked)}\n`));
    socket.on('error', (error: NodeJS.ErrnoException) => fail((error.code ?? 'EIO') as ErrnoName, reasonOf(error)));
    socket.on('close', () => fail('ECONNRESET', 'the server went away without an answer'));
    socket.on('data', (text: string) => {
      heard += text;
      const lines = heard.split('\n');
      heard = lines.pop() as string;
      if (heard.length > ANSWER_BYTES_MAX) fail('EPROTO', 'an answer without an end');
      for (const line of lines) {
        const said = parse(line);
        if (said?.progress !== undefined) tell(said.progress);
        else if (said?.answer !== undefined) resolve(said.answer);
        else if (said?.error !== undefined) reject(new KernelError(said.error.code, said.error.message.replace(/^[A-Z0-9]+: /, '')));
        else fail('EPROTO', 'what answers there is no control socket of tidemark');
      }
    });
  });
}

function parse(line: string): Said | null {
  try {
    const said: unknown = JSON.parse(line);
    return typeof said === 'object' ? (said as Said | null) : null;
  } catch {
    return null;
  }
}
