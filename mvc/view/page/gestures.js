// A mouse, a pen or fingers on the picture: drag, wheel, pinch, double tap.

export function gestures(canvas, stage) {
  const down = new Map();
  const ratio = () => canvas.width / Math.max(1, canvas.getBoundingClientRect().width);
  const place = event => {
    const box = canvas.getBoundingClientRect();
    return { x: (event.clientX - box.left) * ratio(), y: (event.clientY - box.top) * ratio() };
  };
  const middle = points => ({
    x: points.reduce((sum, p) => sum + p.x, 0) / points.length,
    y: points.reduce((sum, p) => sum + p.y, 0) / points.length,
  });
  const spread = points => (points.length < 2 ? 1 : Math.hypot(points[0].x - points[1].x, points[0].y - points[1].y));

  canvas.addEventListener('pointerdown', event => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    down.set(event.pointerId, place(event));
  });
  canvas.addEventListener('pointermove', event => {
    stage.pointer = place(event);
    stage.told.moved();
    if (!down.has(event.pointerId) || !stage.picture) return;
    const before = [...down.values()];
    down.set(event.pointerId, place(event));
    const after = [...down.values()], from = middle(before), to = middle(after);
    stage.move(to.x - from.x, to.y - from.y);
    if (after.length > 1) stage.by(spread(after) / Math.max(1, spread(before)), to.x, to.y);
  });
  const up = event => down.delete(event.pointerId);
  canvas.addEventListener('pointerup', up);
  canvas.addEventListener('pointercancel', up);
  canvas.addEventListener('pointerleave', () => {
    stage.pointer = null;
    stage.told.moved();
  });
  canvas.addEventListener('wheel', event => {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 20 : event.deltaMode === 2 ? 400 : 1, at = place(event);
    const speed = event.ctrlKey ? 0.01 : 0.0016;  // a pinch on a touchpad comes as a wheel with Ctrl, in small steps
    stage.by(Math.exp(-event.deltaY * lines * speed), at.x, at.y);
  }, { passive: false });
  canvas.addEventListener('dblclick', event => {
    const at = place(event);
    if (stage.fitted && stage.zoom < stage.ratio) stage.to(stage.ratio, at.x, at.y);
    else if (stage.fitted) stage.to(stage.ratio * 4, at.x, at.y);
    else stage.fit();
  });
}
