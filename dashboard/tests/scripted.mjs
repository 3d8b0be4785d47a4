// A runtime that says what a test wants it to: for what the program does not do yet, and for what others do differently. Its
// WebSockets are the least that a browser needs (RFC 6455): text frames, not fragmented.

import { createHash } from 'node:crypto';
import { createServer } from 'node:http';

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** `answer(frame, say)` is called with each frame that is not the hello; `say(type, payload, envelope)` sends one. */
export async function scripted(t, features, answer) {
  const server = createServer();
  const sockets = new Set();
  const received = [];
  server.on('upgrade', (request, socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    const accept = createHash('sha1').update(request.headers['sec-websocket-key'] + GUID).digest('base64');
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
    const say = (type, payload, envelope = {}) =>
      socket.write(framed(JSON.stringify({ arcp: '1.1', id: 'msg_s', type, session_id: 'sess_s', ...envelope, payload })));
    let rest = Buffer.alloc(0);
    socket.on('data', (data) => {
      rest = Buffer.concat([rest, data]);
      for (let found = unframed(rest); found; found = unframed(rest)) {
        rest = rest.subarray(found.length);
        if (!found.text) continue;
        const frame = JSON.parse(found.text);
        received.push(frame);
        if (frame.type === 'session.hello')
          say('session.welcome', {
            runtime: { name: 'scripted', version: '1' },
            resume_token: 'rt_1',
            resume_window_sec: 60,
            capabilities: { encodings: ['json'], features, agents: [{ name: 'coder', versions: ['1.0.0'] }] },
          });
        else answer(frame, say);
      }
    });
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { url: `ws://127.0.0.1:${server.address().port}/arcp`, received };
}

function framed(text) {
  const body = Buffer.from(text);
  const head = body.length < 126 ? Buffer.from([0x81, body.length]) : Buffer.from([0x81, 126, body.length >> 8, body.length & 255]);
  return Buffer.concat([head, body]);
}

/** The first frame of what was received, once it is whole. */
function unframed(data) {
  if (data.length < 6) return undefined;
  const short = data[1] & 127;
  const at = short === 126 ? 4 : 2;
  const size = short === 126 ? data.readUInt16BE(2) : short;
  const length = at + 4 + size;
  if (data.length < length) return undefined;
  const mask = data.subarray(at, at + 4);
  const body = Buffer.from(data.subarray(at + 4, length));
  for (let i = 0; i < body.length; i++) body[i] ^= mask[i % 4];
  return { length, text: (data[0] & 15) === 1 ? body.toString() : undefined };
}
