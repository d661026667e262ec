// A small pipelining client of memcached's text protocol, for load: no dependency, no retries, exact times.
import { connect } from 'node:net';

export class TextClient {
  constructor(port, host = '127.0.0.1') {
    this.socket = connect({ port, host, noDelay: true });
    this.waiting = [];
    this.buffer = '';
    this.error = undefined;
    this.socket.setEncoding('latin1');
    this.socket.on('data', (text) => this.onData(text));
    const fail = (error) => {
      this.error ??= error ?? new Error('connection closed');
      for (const waiter of this.waiting.splice(0)) waiter.reject(this.error);
    };
    this.socket.on('error', fail);
    this.socket.on('close', () => fail());
  }

  onData(text) {
    this.buffer += text;
    for (;;) {
      const waiter = this.waiting[0];
      if (waiter === undefined) return;
      const end = waiter.isGet ? this.endOfGet() : this.endOfLine();
      if (end < 0) return;
      const answer = this.buffer.slice(0, end);
      this.buffer = this.buffer.slice(end);
      this.waiting.shift();
      waiter.resolve(answer);
    }
  }

  endOfLine() {
    const at = this.buffer.indexOf('\r\n');
    return at < 0 ? -1 : at + 2;
  }

  endOfGet() {
    const line = this.endOfLine();
    if (line < 0) return -1;
    if (!this.buffer.startsWith('VALUE ')) return line;
    const length = Number(this.buffer.slice(0, line - 2).split(' ')[3]);
    const end = line + length + 2 + 5;
    return this.buffer.length < end ? -1 : end;
  }

  send(bytes, isGet) {
    return new Promise((resolve, reject) => {
      if (this.error !== undefined) {
        reject(this.error);
        return;
      }
      this.waiting.push({ resolve, reject, isGet });
      this.socket.write(bytes, 'latin1');
    });
  }

  set(key, value) {
    return this.send(`set ${key} 0 0 ${value.length}\r\n${value}\r\n`, false);
  }

  incr(key) {
    return this.send(`incr ${key} 1\r\n`, false);
  }

  async get(key) {
    const answer = await this.send(`get ${key}\r\n`, true);
    if (!answer.startsWith('VALUE ')) return answer === 'END\r\n' ? undefined : Promise.reject(new Error(answer.trim()));
    const line = answer.indexOf('\r\n') + 2;
    return answer.slice(line, -7);
  }

  close() {
    this.socket.destroy();
  }
}
