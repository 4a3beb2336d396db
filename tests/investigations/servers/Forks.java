/** Fills half of its heap, then starts a program for each line on stdin. */
public class Forks {
    public static void main(String[] arguments) throws Exception {
        byte[][] data = new byte[128][];
        for (int i = 0; i < data.length; i++) {
            data[i] = new byte[1 << 20];
        }
        java.io.BufferedReader lines =
            new java.io.BufferedReader(new java.io.InputStreamReader(System.in));
        System.out.println("up");
        while (lines.readLine() != null) {
            Process process = new ProcessBuilder("/bin/true").start();
            System.out.println("ended " + process.waitFor() + " of " + data.length);
        }
    }
}
