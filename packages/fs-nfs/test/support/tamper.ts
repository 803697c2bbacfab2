/** A transport whose received bytes are changed on their way to who reads them: bits, bytes and words, in place, whatever they mean. */
import { definePlugin, type Plugin, TRANSPORT } from '@tidemark/core';
import type { ConnectOptions, Socket, SocketHandler, Transport } from '@tidemark/net';
import type { Random } from '@tidemark/testkit';

/** Words that lengths, counts and discriminants are most at odds with. */
const WORDS = [0, 1, 2, 3, 7, 0xff, 0x7fff_ffff, 0x8000_0000, 0x8000_0004, 0xffff_ffff, 0xffff_fffc, 1024, 65_536];

export class Tamper {
  /** Probability that what comes in one piece is changed. */
  chance = 0;
  /** Pieces that were. */
  nrChanged = 0;

  constructor(readonly random: Random) {}

  /** The plugin `inner` with this in between. */
  between(inner: Plugin): Plugin {
    return definePlugin({
      name: 'tampering',
      register: (container) => {
        const register = (token: unknown, provider: { useValue: Transport }): unknown =>
          container.register(token as typeof TRANSPORT, { useValue: this.#wrap(provider.useValue) });
        inner.register({ register } as never);
      },
    });
  }

  #wrap(inner: Transport): Transport {
    return {
      name: inner.name,
      kinds: inner.kinds,
      listen: (address, options) => inner.listen(address, options),
      connect: (address, options: ConnectOptions) => inner.connect(address, { ...options, handler: this.#handler(options.handler) }),
    };
  }

  #handler(handler: SocketHandler): SocketHandler {
    return {
      onReceive: (socket) => {
        if (this.random.chance(this.chance)) this.#change(socket);
        return handler.onReceive(socket);
      },
      onEnd: (socket) => handler.onEnd(socket),
      onClose: (socket, error) => handler.onClose(socket, error),
    };
  }

  #change({ slot }: Socket): void {
    this.nrChanged++;
    const { random } = this;
    for (let n = 1 + random.below(3); n > 0; n--) {
      // Heads are where it hurts: most changes are among the first bytes.
      const within = random.chance(0.7) ? Math.min(slot.length, 200) : slot.length;
      const at = slot.start + random.below(within);
      const word = slot.start + 4 * Math.floor((at - slot.start) / 4);
      if (random.chance(0.3)) slot.bytes[at] ^= 1 << random.below(8);
      else if (random.chance(0.4)) slot.bytes[at] = random.below(256);
      else if (word + 4 <= slot.end) slot.view.setUint32(word, random.pick(WORDS));
    }
  }
}
