/** Guards where kernels and machines meet: packets, pins, local edges, nbd (M12 to M14, M16, M21). See `mutant.ts`. */
import type { Mutant } from './mutant.js';

const RULES = 'packages/net/src/packet/rules.ts';
const BUFFER = 'packages/net/src/packet/packet-buffer.ts';
const HOLDER = 'packages/net/src/packet/holder.ts';
const PACKET_TRANSPORT = 'packages/net/src/packet/packet-transport.ts';
const CONNECTIONS = 'packages/core/src/kernel/local-connections.ts';
const RIGHTS = 'packages/core/src/mm/rights.ts';
const THROTTLE = 'packages/core/src/cache/dirty-throttle.ts';
const GUESTS = 'packages/nbd/src/server/guests.ts';
const NBD_CLIENT = 'packages/nbd/src/client/nbd-device.ts';
const LEDGER = 'packages/nbd/src/client/flush-ledger.ts';
const REPLIES = 'packages/nbd/src/client/reply-reader.ts';
const NBD_SERVER_UNITS = 'packages/nbd/src/server/units.ts';

const EMERGENCY_TEST = 'packages/net/test/packet/emergency.test.ts';
const CONNECTIONS_TEST = 'packages/core/test/local-connections.test.ts';
const WRITEBACK_TEST = 'packages/core/test/writeback.test.ts';
const EDGE_TEST = 'packages/nbd/test/local-edge.test.ts';
const RECONNECT_TEST = 'packages/nbd/test/reconnect.test.ts';
const REQUEST_TEST = 'packages/nbd/test/request.test.ts';
const PROTOCOL_TEST = 'packages/nbd/test/protocol.test.ts';
const CLIENT_TEST = 'packages/nbd/test/client.test.ts';

const IN_AN_EMERGENCY = 'a socket that nobody reads takes the atomic band and nothing of the reserve; a marked one is served all the same';

export const EDGE_MUTANTS: readonly Mutant[] = [
  {
    name: 'm12-mark',
    guard: 'a socket of writeout is marked (M12, 1)',
    file: RULES,
    find: 'marks: (isMemalloc) => isMemalloc,',
    replace: 'marks: () => false,',
    test: [EMERGENCY_TEST, IN_AN_EMERGENCY],
  },
  {
    name: 'm12-tag-as-needed',
    guard: 'a buffer is tagged only if the reserve was needed to get it (M12, 2)',
    file: BUFFER,
    find: 'return (this.#memory.frames.flags[pfn] & PG.RESERVE) !== 0;',
    replace: 'return pfn >= 0;',
    test: [EMERGENCY_TEST, IN_AN_EMERGENCY],
  },
  {
    name: 'm12-filter',
    guard: 'a buffer from the reserve reaches marked sockets only (M12, 3)',
    file: RULES,
    find: 'isMarked || !isFromReserve || !policy.dropsTagged,',
    replace: 'isMarked || !isFromReserve || policy.dropsTagged,',
    test: [EMERGENCY_TEST, IN_AN_EMERGENCY],
  },
  {
    name: 'm12-end-of-the-emergency',
    guard: 'an emergency is over only when free memory is above low (M12)',
    file: BUFFER,
    find: ' || allocator.nrFree <= allocator.low) return;',
    replace: ') return;',
    test: [EMERGENCY_TEST, IN_AN_EMERGENCY],
  },
  {
    name: 'm13-bounds-hold',
    guard: 'a holder at its bound takes no buffer (M13)',
    file: HOLDER,
    find: 'return this.#usedBytes + PAGE_SIZE <= this.#boundBytes;',
    replace: 'return this.#boundBytes > 0;',
    test: [EMERGENCY_TEST, 'what waits for a marked socket is bounded by the backlog, and the packet after it is dropped'],
  },
  {
    name: 'm13-bounds-are-paid-for',
    guard: 'the receive reserve is the sum of the bounds (M13)',
    file: RULES,
    find: 'plannedBytes: (_holder, boundBytes) => boundBytes,',
    replace: 'plannedBytes: () => 0,',
    test: [EMERGENCY_TEST, 'are paid for: the account is their sum and the packet in hand'],
  },
  {
    name: 'm13-old-bound-stands',
    guard: 'a bound that cannot be funded is not raised (M13)',
    file: PACKET_TRANSPORT,
    find: 'if (!isFunded) holder.setBound(before);',
    replace: '',
    test: [EMERGENCY_TEST, 'rise by what can be funded and not by a frame more; the old one stands then'],
  },
  {
    name: 'm14-pin-crosses-the-edge',
    guard: 'a pin pins what is behind a server of this kernel, too (M14)',
    file: CONNECTIONS,
    find: 'if (server !== null) pin.undo = await server.pin(task, this, spec);',
    replace: '',
    test: [CONNECTIONS_TEST, 'pins what is behind its server, and again behind the next one; each is undone once'],
  },
  {
    name: 'm14-pin-goes-to-the-next-server',
    guard: 'a pin holds behind the next server, too (M14)',
    file: CONNECTIONS,
    find: 'const undo = await server.pin(pin.task, this, pin.spec);',
    replace: 'const undo = NOTHING_TO_UNDO;',
    test: [EDGE_TEST, 'outlives connections and servers: the next server has it too'],
  },
  {
    name: 'm14-what-is-pinned-is-held',
    guard: 'what is pinned is nobody else’s (M14, trap 9)',
    file: 'packages/core/src/block/block-device.ts',
    find: 'if (this.#holder !== null) throw',
    replace: 'if (this.#holder === holder) throw',
    test: ['packages/core/test/block.test.ts', 'has one holder, and closes once'],
  },
  {
    name: 'm16-both-addresses',
    guard: 'a local edge is known by the addresses of both ends (M16)',
    file: CONNECTIONS,
    find: 'return `${clientEnd} ${serverEnd}`;',
    replace: 'return serverEnd;',
    test: [CONNECTIONS_TEST, 'is recognised by the addresses of both its ends, once'],
  },
  {
    name: 'm16-once',
    guard: 'an entry serves one accept (M16)',
    file: CONNECTIONS,
    find: 'this.#entries.delete(key);\n    return connection',
    replace: 'return connection',
    test: [CONNECTIONS_TEST, 'is recognised by the addresses of both its ends, once'],
  },
  {
    name: 'm16-units-of-its-own',
    guard: 'a client of this kernel has units that strangers cannot take (M16)',
    file: GUESTS,
    find: 'return { memory: connections.take(), units };',
    replace: 'return { memory: connections.take(), units: units.nrUnits > 0 ? this.#strangers : units };',
    test: [EDGE_TEST, 'finds its units free though strangers wait for the device for ever'],
  },
  {
    name: 'm16-unit-for-each',
    guard: 'a server keeps a unit for each of its client’s (M16)',
    file: RIGHTS,
    find: 'if (left >= wanted) continue;',
    replace: 'if (left >= 0) continue;',
    test: [CONNECTIONS_TEST, 'refuses a client with more units than its server keeps for it, naming both and their counts'],
  },
  {
    name: 'm16-entitled-is-not-paced',
    guard: 'no dirty limit pauses entitled work (M16, trap 2)',
    file: THROTTLE,
    find: 'if (task.ticket !== null) return true;',
    replace: '',
    test: [WRITEBACK_TEST, 'pauses no entitled work, and work of a server for its own device only (M16)'],
  },
  {
    name: 'm16-own-device-only',
    guard: 'a server is held by the device it writes, not by its clients’ (M16, trap 12)',
    file: THROTTLE,
    find: 'if (onlyBy !== null && onlyBy !== backing.key) return true;',
    replace: 'if (onlyBy !== null) return true;',
    test: [WRITEBACK_TEST, 'pauses no entitled work, and work of a server for its own device only (M16)'],
  },
  {
    name: 'm16-first-come',
    guard: 'who has waited longest for units has the next (M16)',
    file: NBD_SERVER_UNITS,
    find: '(first === undefined || first === waiter) && ',
    replace: '',
    test: ['packages/nbd/test/units.test.ts', 'go to who has waited longest, all of them in the end'],
  },
  {
    name: 'm21-generation',
    guard: 'a reply belongs to the connection its request was sent on (M21)',
    file: REPLIES,
    find: 'view.getUint32(start + 8) !== generation ||',
    replace: '',
    test: [CLIENT_TEST, 'that replies with a cookie of another connection is not believed'],
  },
  {
    name: 'm21-whole-header',
    guard: 'a reply is read when all of its header is there (M21)',
    file: REPLIES,
    find: 'if (slot.length < SIMPLE_REPLY_BYTES) return;',
    replace: 'if (slot.length < 8) return;',
    test: [REQUEST_TEST, 'takes its answer in any pieces'],
  },
  {
    name: 'm21-asked-for-again',
    guard: 'a read that was cut is begun anew on the next connection (M21)',
    file: REPLIES,
    find: '    this.#reading = -1;\n  }',
    replace: '  }',
    test: [REQUEST_TEST, 'is sent again whole, with a cookie of the new connection, if its answer was cut'],
  },
  {
    name: 'm21-replay',
    guard: 'what was not answered is sent again after a reconnect (M21)',
    file: NBD_CLIENT,
    find: 'if (state[slot] !== SlotState.FREE) this.#send(slot);\n    this.#pump();',
    replace: 'if (state[slot] !== SlotState.FREE && slot > nrUnits) this.#send(slot);\n    this.#pump();',
    test: [REQUEST_TEST, 'is sent again whole, with a cookie of the new connection, if its answer was cut'],
  },
  {
    name: 'm21-flush-covers-what-was-acknowledged',
    guard: 'a flush covers what was acknowledged when it was sent, no more (M21)',
    file: NBD_CLIENT,
    find: 'this.#ledger.flushed(this.#flushMark);\n      else if',
    replace: 'this.#ledger.flushed(this.#ledger.mark);\n      else if',
    test: [RECONNECT_TEST, 'covers with a flush what was acknowledged when it was sent, and nothing after'],
  },
  {
    name: 'm21-told-once',
    guard: 'a loss is told once (M21)',
    file: LEDGER,
    find: 'this.#settled = this.#lost;',
    replace: '',
    test: [PROTOCOL_TEST, 'reports a loss exactly once, and only of what no flush had covered'],
  },
];
