// Starts Verdaccio with several processes on one port: node verdaccio.cjs PEER_FOLDER CONFIG PORT PROCESSES
const cluster = require('node:cluster');
const { createRequire } = require('node:module');
const path = require('node:path');

const [folder, config, port, processes] = process.argv.slice(2);
if (cluster.isPrimary) {
  for (let n = 0; n < Number(processes); n += 1) cluster.fork();
  cluster.on('exit', (_worker, code) => process.exit(code || 1));
} else {
  const { runServer } = createRequire(path.join(folder, 'package.json'))('verdaccio');
  runServer(config).then((server) => server.listen(Number(port), '127.0.0.1'));
}
