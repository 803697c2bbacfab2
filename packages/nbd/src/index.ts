export { NbdServer, type NbdServerOptions } from './server/nbd-server.js';
