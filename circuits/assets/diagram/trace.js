// What feeds an edge or node and what it feeds, over the drawn edges, with the share of its effect that passes along each.
//
// A node hands what it holds on to the drawn edges that leave it, in proportion to their |effects|, and back to those that
// enter it, likewise. That is a way of reading a circuit, not a measurement: what passes is measured by patching.

// {up, down}: shares by number of an edge. `seeds` are edges, or `node` is a node's number; the seeds have a share of one.
function traced(graph, frame, drawn, { seeds, node }) {
  const leaving = new Map(); // drawn edges by the node that they leave
  const writing = new Map(); // and by the nodes that what they feed writes
  const add = (map, key, i) => (map.has(key) ? map.get(key).push(i) : map.set(key, [i]));
  for (const i of drawn) {
    add(leaving, graph.senders[i], i);
    for (const output of graph.outputs(i)) add(writing, output, i);
  }
  const strength = (i) => Math.abs(frame.effect[i] || 0);
  const total = (edges) => edges.reduce((sum, i) => sum + strength(i), 0);
  const start = new Map(seeds ? seeds.map((i) => [i, 1]) : []);
  const down = new Map(start);
  const up = new Map(start);
  const held = new Map();
  const hold = (which, share) => held.set(which, (held.get(which) || 0) + share);
  const order = graph.nodes.map((_, i) => i); // nodes come in the order of computation
  const pass = (edges, share, found) => { // to each of the edges its part of a share; [edge, part]
    const all = total(edges);
    const parts = all ? edges.map((i) => [i, (share * strength(i)) / all]).filter(([, part]) => part) : [];
    for (const [i, part] of parts) found.set(i, (found.get(i) || 0) + part);
    return parts;
  };
  const spread = (i, share) => { // from an input to the nodes that it feeds, by what leaves them
    const outputs = graph.outputs(i).filter((output) => leaving.has(output));
    const all = outputs.reduce((sum, output) => sum + total(leaving.get(output)), 0);
    for (const output of outputs) if (all) hold(output, (share * total(leaving.get(output))) / all);
  };
  if (node !== undefined) hold(node, 1);
  for (const i of start.keys()) spread(i, 1);
  for (const each of order) {
    const share = held.get(each);
    if (share && leaving.has(each)) pass(leaving.get(each), share, down).forEach(([i, part]) => spread(i, part));
  }
  held.clear();
  if (node !== undefined) hold(node, 1);
  for (const i of start.keys()) hold(graph.senders[i], 1);
  for (const each of order.reverse()) {
    const share = held.get(each);
    if (share && writing.has(each)) pass(writing.get(each), share, up).forEach(([i, part]) => hold(graph.senders[i], part));
  }
  return { up, down };
}
