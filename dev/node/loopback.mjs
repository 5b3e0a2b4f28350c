// The gateway has no option for the address it listens on and takes every interface of the machine.
// Preloaded with `node --import`, this makes each server of the process listen on 127.0.0.1 only.
import { Server } from 'node:net';

const LOOPBACK = '127.0.0.1';
const listen = Server.prototype.listen;

Server.prototype.listen = function listenOnLoopback(...args) {
  const [first, second, ...rest] = args;
  if (first !== null && typeof first === 'object' && first.port !== undefined) {
    return listen.call(this, { ...first, host: LOOPBACK }, ...args.slice(1));
  }
  if (typeof first === 'number' || (typeof first === 'string' && /^\d+$/.test(first))) {
    return listen.call(this, Number(first), LOOPBACK, ...(typeof second === 'string' ? rest : args.slice(1)));
  }
  return listen.apply(this, args);
};
