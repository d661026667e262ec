// An app as a command: on one machine at a time it says that it is there. It ends when it is told to.
const { TROUPE_NODE: node, TROUPE_START_TYPE: type, TROUPE_FROM: from, TROUPE_EPOCH: epoch } = process.env;
console.log(`the beacon is on ${node} (${type}${from ? ` from ${from}` : ''}, epoch ${epoch})`);
setInterval(() => console.log(`still on ${node}`), 10_000);
