/** The browser's sockets, clock and timers. */

import type { Host, Socket, SocketEvents } from './connection';

export const browser: Host = {
  connect(url: string, events: SocketEvents): Socket {
    let isDone = false;
    const done = (code: number, reason: string) => {
      if (isDone) return;
      isDone = true;
      events.closed(code, reason);
    };
    let socket: WebSocket;
    try {
      socket = new WebSocket(url);
    } catch (error) {
      setTimeout(() => done(1006, error instanceof Error ? error.message : 'the address is not one'), 0);
      return { send() {}, close() {} };
    }
    socket.binaryType = 'arraybuffer';
    const decoder = new TextDecoder();
    socket.onopen = () => events.opened();
    socket.onmessage = ({ data }) =>
      events.received(typeof data === 'string' ? data : decoder.decode(data as ArrayBuffer));
    socket.onclose = ({ code, reason }) => done(code, reason);
    return {
      send: (text) => {
        if (socket.readyState === WebSocket.OPEN) socket.send(text);
      },
      close: (code, reason) => socket.close(code, reason),
    };
  },
  now: () => Date.now(),
  after(ms, call) {
    const timer = setTimeout(call, ms);
    return () => clearTimeout(timer);
  },
  random: () => Math.random(),
};
